// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: segfault: signal 11, core file
// Core files (core(5)): which signals write one, what bounds it, and what is in it.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEBIBYTE (1 << 20)

static volatile char marked[] = "a text that is looked for";
static char *hidden, *shared, *private_file;
static pid_t child;
static volatile int *volatile nowhere = (int *)24;

static void limit(rlim_t bytes)
{
	struct rlimit limit = { bytes, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &limit);
}

/* Runs `body` in a child, and tells how it ended. */
static void run(const char *what, void (*body)(void))
{
	int status;

	fflush(stdout);
	child = fork();
	if (!child) {
		body();
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s: signal %d, %s\n", what, WTERMSIG(status), WCOREDUMP(status) ? "core file" : "no core file");
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
}

static void exists(void)
{
	struct stat status;

	if (lstat("core", &status))
		printf("core: %s\n", strerrorname_np(errno));
	else
		printf("core: %o, %s, links %d\n", status.st_mode, status.st_size > 4096 ? "large" : "small", (int)status.st_nlink);
}

static void segfault(void)
{
	marked[0] = 'A';
	strcpy(hidden, "hidden from core files");
	strcpy(shared, "shared memory");
	private_file[0] = 'X';
	*nowhere = 1;
}

static void by_abort(void)
{
	abort();
}

static int number;

static void by_signal(void)
{
	raise(number);
	pause();
}

static void not_dumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	abort();
}

static void handled(int signal)
{
	(void)signal;
	_exit(3);
}

static void with_handler(void)
{
	signal(SIGSEGV, handled);
	*nowhere = 1;
}

static void without_privileges(void)
{
	if (setresuid(1000, 1000, 1000))
		_exit(1);
	prctl(PR_SET_DUMPABLE, 1);
	abort();
}

static void *waits(void *argument)
{
	pthread_barrier_wait(argument);
	for (;;)
		pause();
	return NULL;
}

static void with_threads(void)
{
	pthread_barrier_t barrier;
	pthread_t threads[3];

	pthread_barrier_init(&barrier, NULL, 4);
	for (int i = 0; i < 3; i++)
		pthread_create(threads + i, NULL, waits, &barrier);
	pthread_barrier_wait(&barrier);
	abort();
}

static char *read_core(size_t *size)
{
	struct stat status;
	int fd = open("core", O_RDONLY);
	char *bytes = NULL;

	*size = 0;
	if (fd < 0 || fstat(fd, &status))
		return NULL;
	*size = status.st_size;
	bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return bytes;
}

/* The bytes at an address, as the file has them. */
static const char *memory(const char *core, size_t size, const volatile void *address)
{
	const Elf64_Ehdr *header = (const void *)core;
	const Elf64_Phdr *segments = (const void *)(core + header->e_phoff);
	Elf64_Addr at = (Elf64_Addr)address;

	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD && at >= segments[i].p_vaddr && at < segments[i].p_vaddr + segments[i].p_memsz) {
			size_t offset = at - segments[i].p_vaddr;
			if (offset >= segments[i].p_filesz || segments[i].p_offset + offset >= size)
				return "(not in the file)";
			return core + segments[i].p_offset + offset;
		}
	return "(not mapped)";
}

static void look(void)
{
	size_t size;
	char *core = read_core(&size);

	if (!core)
		return;
	const Elf64_Ehdr *header = (const void *)core;
	printf("type %d, machine %d, segments %s\n", header->e_type, header->e_machine, header->e_phnum > 3 ? "many" : "few");
	const Elf64_Phdr *note = (const void *)(core + header->e_phoff);
	printf("first is notes: %d\n", note->p_type == PT_NOTE);
	int threads = 0, floating_point = 0, same = 0;
	for (size_t at = note->p_offset, end = at + note->p_filesz; at < end;) {
		const Elf64_Nhdr *entry = (const void *)(core + at);
		const char *name = core + at + sizeof(*entry), *content = name + (entry->n_namesz + 3) / 4 * 4;

		at = content + (entry->n_descsz + 3) / 4 * 4 - core;
		switch (entry->n_type) {
		case NT_PRSTATUS: {
			const struct elf_prstatus *status = (const void *)content;
			const struct user_regs_struct *registers = (const void *)status->pr_reg;

			same += status->pr_cursig == SIGSEGV || status->pr_cursig == SIGABRT;
			if (threads++)
				break;
			printf("%s status: %zu bytes, pid %d, parent %d, signal %d, stack %d, float %d\n", name,
			       entry->n_descsz - sizeof(*status), status->pr_pid == child, status->pr_ppid == getpid(),
			       status->pr_cursig, strcmp(memory(core, size, (void *)registers->rsp), "(not mapped)") != 0,
			       status->pr_fpvalid);
			break;
		}
		case NT_PRPSINFO: {
			const struct elf_prpsinfo *info = (const void *)content;

			printf("process: %zu bytes, pid %d, name %s, arguments %.8s\n", entry->n_descsz - sizeof(*info),
			       info->pr_pid == child, info->pr_fname, info->pr_psargs);
			break;
		}
		case NT_SIGINFO: {
			const siginfo_t *info = (const void *)content;

			printf("signal %d, code %d\n", info->si_signo, info->si_code);
			break;
		}
		case NT_AUXV: {
			const Elf64_auxv_t *vector = (const void *)content;
			int entries = entry->n_descsz / sizeof(*vector), page = 0;

			for (int i = 0; i < entries; i++)
				if (vector[i].a_type == AT_PAGESZ)
					page = vector[i].a_un.a_val;
			printf("vector: page size %d\n", page);
			break;
		}
		case NT_FILE: {
			const long *words = (const void *)content;
			const char *names = (const void *)(words + 2 + 3 * words[0]);
			const char *last = strrchr(names, '/');

			printf("files: %s, page size %ld, first %s\n", words[0] > 1 ? "some" : "few", words[1], last ? last : names);
			break;
		}
		case NT_FPREGSET:
			floating_point++;
			if (floating_point == 1)
				printf("floating point: %d bytes\n", entry->n_descsz);
			break;
		}
	}
	printf("threads: %d, with floating point %d, with the signal %d\n", threads, floating_point, same);
	printf("variable: %s\n", memory(core, size, marked));
	printf("hidden: %s\n", memory(core, size, hidden));
	printf("shared: %s\n", memory(core, size, shared));
	printf("private file: %.4s\n", memory(core, size, private_file));
	munmap(core, size);
}

int main(void)
{
	char place[] = "/tmp/core.XXXXXX";
	struct stat status;

	if (!mkdtemp(place) || chdir(place))
		return 1;
	hidden = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	if (write(fd, "file", 4) != 4)
		return 1;
	private_file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	printf("dontdump: %d\n", madvise(hidden, 4096, MADV_DONTDUMP));
	limit(0);
	run("without a limit", segfault);
	exists();
	limit(4095);
	run("with a limit that is too small", segfault);
	exists();
	limit(RLIM_INFINITY);
	run("segfault", segfault);
	exists();
	look();
	unlink("core");
	run("abort", by_abort);
	exists();
	unlink("core");
	for (number = 1; number < 32; number++)
		if (number != SIGSTOP && number != SIGTSTP && number != SIGTTIN && number != SIGTTOU && number != SIGCHLD &&
		    number != SIGCONT && number != SIGURG && number != SIGWINCH) {
			run(strsignal(number), by_signal);
			unlink("core");
		}
	run("not dumpable", not_dumpable);
	exists();
	run("with a handler", with_handler);
	exists();
	run("threads", with_threads);
	look();
	/* An older one is replaced, not written to; and what a link leads to stays. */
	close(open("other", O_CREAT | O_WRONLY, 0644));
	unlink("core");
	symlink("other", "core");
	run("over a link", by_abort);
	exists();
	stat("other", &status);
	printf("other: %d bytes\n", (int)status.st_size);
	limit(MEBIBYTE / 16);
	run("with a small limit", by_abort);
	stat("core", &status);
	printf("not more: %d\n", status.st_blocks * 512 <= MEBIBYTE / 8 && status.st_size > 4096);
	limit(RLIM_INFINITY);
	unlink("core");
	run("without privileges", without_privileges);
	exists();
	chmod(".", 0777);
	run("without privileges, in an open directory", without_privileges);
	stat("core", &status);
	printf("owner %d\n", (int)status.st_uid);
	unlink("core");
	mkdir("core", 0700);
	run("a directory in the way", by_abort);
	rmdir("core");
	FILE *filter = fopen("/proc/self/coredump_filter", "r+");
	unsigned bits = 0;
	printf("filter: %d %x\n", fscanf(filter, "%x", &bits), bits);
	rewind(filter);
	fprintf(filter, "0x30\n");
	fclose(filter);
	run("without anonymous memory", segfault);
	size_t size;
	char *core = read_core(&size);
	if (core)
		printf("variable: %s\n", memory(core, size, shared));
	if (chdir("/tmp"))
		return 1;
	char line[64];
	snprintf(line, sizeof(line), "rm -r %s", place);
	return system(line);
}

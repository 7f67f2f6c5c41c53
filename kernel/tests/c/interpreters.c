// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a name without a zero at its end: ENOEXEC
// Programs that name an interpreter (a dynamic linker) in their file: what is wrong with the name or with the file that it names, and what
// the interpreter is told. The interpreter here is this very program.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program that an interpreter would start: nothing in it runs. */
static struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segments[4];
	char names[3 * 4096];
} program;

#define BASE 0x7000000000
#define ENTRY 0x1234

extern const Elf64_Ehdr __ehdr_start;

/* glibc takes the headers of the program for its own, and copies the first thread-local variables from where they say. */
static Elf64_Phdr thread_locals(void)
{
	const Elf64_Phdr *own = (void *)((uintptr_t)&__ehdr_start + __ehdr_start.e_phoff);
	int at = 0;

	while (own[at].p_type != PT_TLS)
		at++;
	return own[at];
}

static void write_file(const char *path, const void *bytes, size_t size, int mode)
{
	int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0700);

	if (write(file, bytes, size) != (ssize_t)size)
		puts("cannot write");
	close(file);
	chmod(path, mode);
}

static void make(const char *name, size_t size)
{
	program = (struct program){
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = BASE + ENTRY,
			.e_phoff = offsetof(struct program, segments), .e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3,
		},
		.segments = {
			{ .p_type = PT_INTERP, .p_flags = PF_R, .p_offset = offsetof(struct program, names),
			  .p_filesz = size, .p_memsz = size, .p_align = 1 },
			{ .p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = BASE, .p_paddr = BASE,
			  .p_filesz = sizeof program, .p_memsz = sizeof program, .p_align = 4096 },
			thread_locals(),
		},
	};
	strcpy(program.names, name);
	write_file("program", &program, sizeof program, 0700);
}

/* Starts the program; the error, or "ok". */
static const char *start(void)
{
	pid_t child;
	int ends[2], number = 0;

	if (pipe2(ends, O_CLOEXEC))
		puts("no pipe");
	fflush(stdout);
	child = fork();
	if (!child) {
		execl("./program", "name", "told", NULL);
		number = errno;
		if (write(ends[1], &number, sizeof number) < 0)
			_exit(2);
		_exit(0);
	}
	close(ends[1]);
	if (read(ends[0], &number, sizeof number) < 0)
		puts("cannot read");
	close(ends[0]);
	waitpid(child, NULL, 0);
	return number ? strerrorname_np(number) : "ok";
}

static const char *with(const char *name)
{
	make(name, strlen(name) + 1);
	return start();
}

static void names(void)
{
	char name[8192];

	make("/nowhere", 8);
	printf("a name without a zero at its end: %s\n", start());
	make("", 0);
	printf("no byte: %s", start());
	make("", 1);
	printf(", a zero: %s", start());
	make("\0\0", 2);
	printf(", two: %s\n", start());
	memset(name, '/', sizeof name);
	strcpy(name + 4000, "tmp/nowhere");
	make(name, 4096);
	printf("4096 bytes: %s", start());
	make(name, 4097);
	printf(", 4097: %s\n", start());
	make("/nowhere", 9);
	program.segments[0].p_offset = sizeof program - 4;
	write_file("program", &program, sizeof program, 0700);
	printf("a name behind the file's end: %s\n", start());
	/* The first counts, wherever it is. */
	make("/nowhere", 9);
	program.header.e_phnum = 4;
	program.segments[3] = program.segments[0];
	program.segments[3].p_filesz = 1;
	write_file("program", &program, sizeof program, 0700);
	printf("a second one is not looked at: %s\n", start());
}

static void files(void)
{
	static char bytes[5000];

	printf("no such file: %s, a directory: %s, below a file: %s, a device: %s\n", with("/nowhere"), with("/dev"),
	       with("/proc/version/x"), with("/dev/null"));
	write_file("linker", "", 0, 0700);
	printf("empty: %s", with("./linker"));
	write_file("linker", "#!/bin/sh\n", 10, 0700);
	printf(", short: %s", with("./linker"));
	memcpy(bytes, "#!/bin/sh\n", 10);
	write_file("linker", bytes, sizeof bytes, 0700);
	printf(", a script: %s", with("./linker"));
	memset(bytes, 'x', sizeof bytes);
	write_file("linker", bytes, sizeof bytes, 0700);
	printf(", no ELF file: %s", with("./linker"));
	write_file("linker", bytes, sizeof bytes, 0600);
	printf(", may not be executed: %s\n", with("./linker"));
	make("/nowhere", 9);
	program.header.e_machine = EM_AARCH64;
	write_file("linker", &program, sizeof program, 0700);
	printf("for another processor: %s\n", with("./linker"));
	if (symlink("linker", "link"))
		puts("no link");
	write_file("linker", bytes, sizeof bytes, 0700);
	printf("through a link: %s", with("./link"));
	int open_file = open("linker", O_WRONLY);
	printf(", while it is written: %s\n", with("./linker"));
	close(open_file);
	unlink("link");
	unlink("linker");
}

/* What the program is told when it is the interpreter of another. */
static int told(void)
{
	const Elf64_Phdr *headers = (void *)getauxval(AT_PHDR);

	printf("phdr %#lx, %ld of %ld, entry %#lx\n", getauxval(AT_PHDR) - BASE, getauxval(AT_PHNUM), getauxval(AT_PHENT),
	       getauxval(AT_ENTRY) - BASE);
	printf("the first header is of an interpreter: %d, base of one that cannot be moved: %#lx\n",
	       headers->p_type == PT_INTERP, getauxval(AT_BASE));
	printf("ours is not theirs: %d, as %s\n", (void *)headers != (void *)(&__ehdr_start + 1),
	       (char *)getauxval(AT_EXECFN));
	fflush(stdout);
	_exit(0);
}

static void itself(void)
{
	char path[4096] = { 0 };
	struct stat program_file, executable;

	if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
		puts("no path");
	printf("an interpreter runs: %s\n", with(path));
	stat("program", &program_file);
	stat("/proc/self/exe", &executable);
	printf("this is another file: %d\n", program_file.st_ino != executable.st_ino);
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/interpretersXXXXXX";

	if (argc > 1 && !strcmp(argv[1], "told"))
		return told();
	if (!mkdtemp(folder) || chdir(folder))
		return 1;
	names();
	files();
	itself();
	unlink("program");
	rmdir(folder);
	return 0;
}

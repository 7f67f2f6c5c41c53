// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: constructors before main: 1
// A dynamically linked program: what the dynamic linker needs of a kernel, that its pages are private and no page can be both written and
// executed, where things are, threads with their variables, libraries that are opened later.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

static int constructed;
static __thread long of_thread = 7;
extern char **environ;

__attribute__((constructor)) static void construct(void)
{
	constructed++;
}

static void *thread(void *unused)
{
	char *copy;

	(void)unused;
	of_thread += 1000;
	copy = strdup("copied in a thread");
	printf("a thread: %ld, %s\n", of_thread, copy);
	free(copy);
	return NULL;
}

static int count(struct dl_phdr_info *info, size_t size, void *sum)
{
	(void)size;
	/* The vDSO is one on Linux. */
	if (info->dlpi_addr != getauxval(AT_SYSINFO_EHDR))
		++*(int *)sum;
	return 0;
}

/* Each line of the maps: pages that can be both written and executed, and what is mapped of the files. */
static void maps(void)
{
	char line[512], permissions[5], path[400];
	int both = 0, of_linker = 0, of_libc = 0, of_program = 0, shared = 0;
	FILE *file = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof line, file)) {
		path[0] = 0;
		sscanf(line, "%*x-%*x %4s %*s %*s %*s %399s", permissions, path);
		both += permissions[1] == 'w' && permissions[2] == 'x';
		shared += permissions[3] == 's';
		of_linker += strstr(path, "ld-linux") != NULL;
		of_libc += strstr(path, "libc.so") != NULL;
		of_program += strstr(path, "linked") != NULL;
	}
	fclose(file);
	printf("both written and executed %d, shared %d, of the linker %d, of libc %d, of the program %d\n", both, shared,
	       of_linker > 2, of_libc > 2, of_program > 2);
}

/* Addresses of the program, the linker, a mapping of its own: three words. */
static void places(uintptr_t out[3])
{
	out[0] = getauxval(AT_ENTRY);
	out[1] = getauxval(AT_BASE);
	out[2] = (uintptr_t)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void places_of_another(uintptr_t out[3])
{
	int ends[2];

	memset(out, 0, 3 * sizeof *out);
	if (pipe(ends))
		puts("no pipe");
	fflush(stdout);
	if (!fork()) {
		dup2(ends[1], 1);
		execl("/proc/self/exe", "linked", "places", NULL);
		_exit(1);
	}
	close(ends[1]);
	if (read(ends[0], out, 3 * sizeof *out) < 0)
		puts("cannot read");
	close(ends[0]);
	wait(NULL);
}

static void randomness(void)
{
	uintptr_t one[3], other[3];
	const char *names[] = { "program", "linker", "mapping" };
	int at;

	places_of_another(one);
	places_of_another(other);
	for (at = 0; at < 3; at++)
		printf("%s elsewhere each time: %d, at a page: %d\n", names[at], one[at] != other[at],
		       at == 0 || one[at] % 4096 == 0);
	personality(ADDR_NO_RANDOMIZE);
	places_of_another(one);
	places_of_another(other);
	for (at = 0; at < 3; at++)
		printf("%s where it was, if asked: %d\n", names[at], one[at] == other[at]);
	personality(0);
}

int main(int argc, char **argv)
{
	const ElfW(Ehdr) *linker = (void *)getauxval(AT_BASE);
	uintptr_t where[3];
	void *function;
	int objects = 0;
	pthread_t id;
	void *library;
	char own_path[4096] = { 0 }, *again[] = { "/lib64/ld-linux-x86-64.so.2", own_path, "again", NULL };

	if (argc > 1 && !strcmp(argv[1], "places")) {
		places(where);
		return write(1, where, sizeof where) != sizeof where;
	}
	if (readlink("/proc/self/exe", own_path, sizeof own_path - 1) < 0)
		puts("no path");
	printf("constructors before main: %d\n", constructed);
	if (argc > 1) {
		printf("%s: with a linker below it %d\n", argv[1], getauxval(AT_BASE) != 0);
		return 0;
	}
	printf("the linker is an ELF file: %d, apart from the program: %d\n", !memcmp(linker, ELFMAG, SELFMAG),
	       linker->e_type == ET_DYN && (uintptr_t)linker > getauxval(AT_ENTRY));
	printf("secure %ld, random bytes %d, thread-local %ld\n", getauxval(AT_SECURE), getauxval(AT_RANDOM) != 0, of_thread);
	pthread_create(&id, NULL, thread, NULL);
	pthread_join(id, NULL);
	printf("main still has %ld\n", of_thread);
	dl_iterate_phdr(count, &objects);
	printf("objects: %d\n", objects);
	maps();
	library = dlopen("libz.so.1", RTLD_NOW);
	function = library ? dlsym(library, "zlibVersion") : NULL;
	printf("a library opened later: %d, a function of it: %d\n", library != NULL, function != NULL);
	printf("it goes again: %d\n", library && !dlclose(library));
	printf("no such library: %d, no such function: %d\n", dlopen("libnowhere.so", RTLD_NOW) == NULL,
	       dlsym(RTLD_DEFAULT, "no such function") == NULL);
	randomness();
	fflush(stdout);
	if (!fork()) {
		setenv("LD_BIND_NOW", "1", 1);
		execl("/proc/self/exe", "linked", "bound at once", NULL);
		_exit(1);
	}
	wait(NULL);
	execve(again[0], again, environ);
	return 1;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// Where a program may go on: an entry point, a signal handler and a return from one at addresses that are not the program's.
// On Linux it prints: return to 0x800000000000: signal 11
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static const unsigned long ADDRESSES[] = {
    0x10,
    0x7ffffffff000,
    0x7fffffffffff,
    0x800000000000,
    0x7fff00000000,
    0x0123456789abcdef,
    0xffff7fffffffffff,
    0xffff800000000000,
    0xffffffff80200000,
    0xffffffffffffffff,
};

static void start(int type, unsigned long entry) {
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
        char code[16];
    } file = {
        .header = {
            .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
            .e_type = type,
            .e_machine = EM_X86_64,
            .e_version = EV_CURRENT,
            .e_entry = entry,
            .e_phoff = sizeof(Elf64_Ehdr),
            .e_ehsize = sizeof(Elf64_Ehdr),
            .e_phentsize = sizeof(Elf64_Phdr),
            .e_phnum = 1,
        },
        .segment = {
            .p_type = PT_LOAD,
            .p_flags = PF_R | PF_X,
            .p_vaddr = type == ET_EXEC ? 0x400000 : 0,
            .p_filesz = sizeof file,
            .p_memsz = sizeof file,
            .p_align = 4096,
        },
        .code = {(char)0xcc},
    };
    int fd = open("entries.elf", O_CREAT | O_TRUNC | O_WRONLY, 0755);
    if (fd < 0 || write(fd, &file, sizeof file) != sizeof file || close(fd) != 0)
        _exit(1);
    execl("./entries.elf", "entries", NULL);
    perror("exec");
    _exit(2);
}

static void start_fixed(unsigned long entry) { start(ET_EXEC, entry); }

static void start_movable(unsigned long entry) { start(ET_DYN, entry); }

static void handle(unsigned long at) {
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = (void (*)(int, siginfo_t *, void *))at;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    _exit(3);
}

static unsigned long target;

static void divert(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (long)target;
    // A program may ask for any flags and any stack; it gets those of user mode.
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] = 0x7ffff;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP] = (long)target;
}

static void come_back(unsigned long at) {
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = divert};
    target = at;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    _exit(4);
}

static void each(const char *name, void (*way)(unsigned long)) {
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof *ADDRESSES; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            way(ADDRESSES[i]);
        int status = 0;
        waitpid(child, &status, 0);
        printf("%s %#lx: %s %d\n", name, ADDRESSES[i], WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

int main(void) {
    each("entry at", start_fixed);
    each("movable entry at", start_movable);
    each("handler at", handle);
    each("return to", come_back);
    unlink("entries.elf");
    return 0;
}

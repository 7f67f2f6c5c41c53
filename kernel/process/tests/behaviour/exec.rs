// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting programs: what a new program finds, what it keeps of the old one, and what is no program.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// Has a child start a program, and waits for its end.
fn run(path: &'static str, arguments: &'static [&'static str], environment: &'static [&'static str]) -> u32 {
    end_of(fork(move || {
        let error = exec(path, arguments, environment);
        exit(100 + error.0 as u32);
    }))
}

/// A status that says that exec failed.
fn failed(error: Errno) -> u32 {
    exited(100 + error.0 as u32)
}

/// A string of the program.
fn string_at(at: u64) -> String {
    let mut bytes = Vec::new();
    for at in at.. {
        match get_bytes(at as usize, 1)[0] {
            0 => break,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What is at the start of a program's stack: its arguments, environment and auxiliary vector.
fn start_of_stack() -> (Vec<String>, Vec<String>, Vec<(u64, u64)>) {
    let mut at = user::regs().rsp() as usize;
    assert_eq!(at % 16, 0);
    let mut next = || {
        at += 8;
        get::<u64>(at - 8)
    };
    let count = next();
    let mut strings =
        || std::iter::from_fn(|| Some(next()).filter(|at| *at != 0)).map(string_at).collect::<Vec<_>>();
    let (arguments, environment) = (strings(), strings());
    assert_eq!(arguments.len() as u64, count);
    let mut vector = Vec::new();
    loop {
        match (next(), next()) {
            (0, _) => return (arguments, environment, vector),
            pair => vector.push(pair),
        }
    }
}

#[test]
fn a_program_finds_its_strings_and_what_the_kernel_tells_it() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("program", move || {
            let (arguments, environment, vector) = start_of_stack();
            noted.note(format!("{arguments:?} {environment:?}"));
            let value = |key: u32| vector.iter().find(|pair| pair.0 == key.into()).unwrap().1;
            use linux_raw_sys::auxvec::*;
            assert_eq!(value(AT_PAGESZ), 4096);
            assert_eq!(value(AT_ENTRY), user::regs().rip());
            assert_eq!((value(AT_PHENT), value(AT_PHNUM)), (56, 2));
            let headers = value(AT_PHDR) as usize;
            assert_eq!(get::<u32>(headers), 1, "the first is to be loaded");
            assert_eq!((value(AT_UID), value(AT_EUID), value(AT_SECURE)), (0, 0, 0));
            assert_eq!(string_at(value(AT_EXECFN)), "./program");
            assert_eq!(string_at(value(AT_PLATFORM)), "x86_64");
            assert_ne!(get::<u128>(value(AT_RANDOM) as usize), 0);
        });
        assert_eq!(run("./program", &["name", "one", ""], &["A=1", "B="]), 0);
        assert_eq!(log.take(), [r#"["name", "one", ""] ["A=1", "B="]"#]);
        assert_eq!(run("./program", &[], &[]), 0);
        assert_eq!(log.take(), [r#"[""] []"#], "there is one argument at least");
    });
}

#[test]
fn segments_are_mapped_as_the_file_says() {
    machine(|| {
        make_program("program", || {
            let data = image::DATA_AT as usize;
            assert_eq!(get_bytes(data, image::DATA.len()), image::DATA);
            let rest = get_bytes(data + image::DATA.len(), image::DATA_SIZE as usize - image::DATA.len());
            assert!(rest.iter().all(|byte| *byte == 0), "zeros behind what is in the file");
            memory::write(data, b"may be written");
            assert_eq!(get_bytes(user::regs().rip() as usize, 4), b"\x7fELF");
            let code = user::regs().rip() as usize;
            assert_eq!(exo_hal::mm::user::copy_out(code, b"x"), Err(exo_hal::mm::user::BadAddress));
            let end = data + (image::DATA_SIZE as usize).next_multiple_of(4096);
            assert_eq!(exo_hal::mm::user::copy_in(&mut [0], end), Err(exo_hal::mm::user::BadAddress));
            assert_eq!(call!(abi::__NR_brk, 0), Ok(end), "the heap begins there");
        });
        assert_eq!(run("program", &[], &[]), 0);
        assert_eq!(content("program")[4096..], *image::DATA, "the file stays as it is");
    });
}

#[test]
fn an_interpreter_starts_in_the_place_of_the_program_that_names_it() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("linker", move || {
            let (arguments, _, vector) = start_of_stack();
            use linux_raw_sys::auxvec::*;
            let value = |key: u32| vector.iter().find(|pair| pair.0 == key.into()).unwrap().1;
            let (data, entry) = (image::DATA_AT, value(AT_ENTRY));
            assert_eq!(get_bytes(data as usize, image::DATA.len()), image::DATA, "of the interpreter");
            assert_eq!(get_bytes((data + entry) as usize, image::DATA.len()), image::DATA, "of the program");
            assert_ne!(user::regs().rip(), entry);
            assert_eq!(
                (value(AT_BASE), entry % 4096),
                (0, 0),
                "the interpreter cannot be moved, the program can"
            );
            assert_eq!(string_at(value(AT_EXECFN)), "./program");
            noted.note(format!("{arguments:?} {}", entry != 0x5555_5555_4000));
        });
        make_file("program", &image::interpreted(b"./linker\0"));
        assert_eq!(run("./program", &["name", "one"], &[]), 0);
        assert_eq!(log.take(), [r#"["name", "one"] true"#]);
        call!(abi::__NR_personality, 0x0004_0000).unwrap();
        assert_eq!(run("./program", &["name"], &[]), 0);
        assert_eq!(
            log.take(),
            [r#"["name"] false"#],
            "with ADDR_NO_RANDOMIZE it is always at the same place"
        );
    });
}

#[test]
fn what_is_no_interpreter() {
    machine(|| {
        make_program("linker", || ());
        make_file("nothing", &[0; 64]);
        make_file("short", b"\x7fELF");
        make_file("script", &b"#!./linker\n".repeat(10));
        for (name, error) in [
            (&b"./linker"[..], Errno::ENOEXEC),
            (b"./linker\0x", Errno::ENOEXEC),
            (b"\0", Errno::ENOEXEC),
            (b"\0\0", Errno::EACCES),
            (b"./nowhere\0", Errno::ENOENT),
            (b"./linker/x\0", Errno::ENOTDIR),
            (b".\0", Errno::EACCES),
            (b"./nothing\0", Errno::ELIBBAD),
            (b"./short\0", Errno::EIO),
            (b"./script\0", Errno::ELIBBAD),
        ] {
            make_file("program", &image::interpreted(name));
            assert_eq!(run("program", &[], &[]), failed(error), "{}", name.escape_ascii());
        }
    });
}

#[test]
fn what_a_new_program_keeps_and_what_not() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("program", move || {
            let old = zeros(64);
            for (signal, handler) in [(abi::SIGUSR1, 0), (abi::SIGUSR2, 1)] {
                call!(abi::__NR_rt_sigaction, signal, 0, old, 8).unwrap();
                assert_eq!(get::<u64>(old), handler, "a handler goes, SIG_IGN stays");
            }
            call!(abi::__NR_rt_sigprocmask, 0, 0, old, 8).unwrap();
            assert_eq!(get::<u64>(old), signals(&[abi::SIGHUP]));
            call!(abi::__NR_rt_sigpending, old, 8).unwrap();
            assert_eq!(get::<u64>(old), signals(&[abi::SIGHUP]));
            call!(abi::__NR_sigaltstack, 0, old).unwrap();
            assert_eq!(get::<[u64; 2]>(old)[1] as u32, 2, "SS_DISABLE");
            let kept = call!(abi::__NR_fcntl, 10, abi::F_GETFD, 0);
            let closed = call!(abi::__NR_fcntl, 11, abi::F_GETFD, 0);
            assert_eq!((kept, closed), (Ok(0), Err(Errno::EBADF)));
            noted.note(format!("pid {}", call!(abi::__NR_getpid).unwrap()));
        });
        let child = fork(|| {
            on_signal(abi::SIGUSR1, 0, || {});
            action(abi::SIGUSR2, 1, 0, 0).unwrap();
            mask(abi::SIG_BLOCK, signals(&[abi::SIGHUP]));
            kill(pid() as i64, abi::SIGHUP).unwrap();
            call!(abi::__NR_sigaltstack, put(&[memory::DATA, 0, 8192]), 0).unwrap();
            call!(abi::__NR_dup2, 0, 10).unwrap();
            call!(abi::__NR_dup3, 0, 11, abi::O_CLOEXEC).unwrap();
            exec("program", &[], &[]);
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(log.take(), [format!("pid {child}")]);
    });
}

#[test]
fn scripts_name_their_interpreter() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("interpreter", move || noted.note(format!("{:?}", start_of_stack().0)));
        make_file("script", b"#! ./interpreter  -x y \necho\n");
        assert_eq!(run("script", &["zero", "one"], &[]), 0);
        assert_eq!(log.take(), [r#"["./interpreter", "-x y", "script", "one"]"#]);
        make_file("second", b"#!./script");
        assert_eq!(run("second", &["zero"], &[]), 0);
        assert_eq!(log.take(), [r#"["./interpreter", "-x y", "./script", "second"]"#]);
        make_file("empty", b"#!   \n");
        assert_eq!(run("empty", &[], &[]), failed(Errno::ENOEXEC));
        make_file("circle", b"#!./circle\n");
        assert_eq!(run("circle", &[], &[]), failed(Errno::ELOOP));
        make_file("missing", b"#!./nothing\n");
        assert_eq!(run("missing", &[], &[]), failed(Errno::ENOENT));
    });
}

#[test]
fn what_is_no_program_leaves_the_old_one_as_it_is() {
    machine(|| {
        make_program("program", || {});
        let log = Log::default();
        let noted = log.clone();
        let child = fork(move || {
            let fail = |path: &str, error| assert_eq!(exec(path, &["x"], &[]), error, "{path}");
            make_file("text", b"no program");
            make_file("short", b"\x7fELF");
            let mut broken = content("program");
            broken[18] = 3;
            make_file("other-machine", &broken);
            broken = content("program");
            broken.truncate(4000);
            make_file("cut-off", &broken);
            for path in ["text", "short", "other-machine", "cut-off"] {
                fail(path, Errno::ENOEXEC);
            }
            fail("nothing", Errno::ENOENT);
            fail("/dev", Errno::EACCES);
            call!(abi::__NR_chmod, memory::string("program"), 0o644).unwrap();
            fail("program", Errno::EACCES);
            assert_eq!(get::<u32>(put(&5_u32)), 5);
            noted.note("goes on");
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(log.take(), ["goes on"]);
    });
}

#[test]
fn a_program_that_runs_is_not_written_to() {
    machine(|| {
        make_program("program", || {
            let _ = call!(abi::__NR_pause);
        });
        let writer = open("program", abi::O_WRONLY).unwrap();
        assert_eq!(run("program", &[], &[]), failed(Errno::ETXTBSY), "somebody may write to it");
        close(writer).unwrap();
        let child = fork(|| exec("program", &[], &[]));
        let_others_run();
        assert_eq!(open("program", abi::O_WRONLY), Err(Errno::ETXTBSY));
        kill(child as i64, abi::SIGKILL).unwrap();
        end_of(child);
        assert!(open("program", abi::O_WRONLY).is_ok());
    });
}

#[test]
fn a_file_may_give_its_owners_rights() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        make_program("program", move || {
            let vector = start_of_stack().2;
            let secure =
                vector.iter().find(|pair| pair.0 == linux_raw_sys::auxvec::AT_SECURE.into()).unwrap().1;
            let ids = [abi::__NR_getuid, abi::__NR_geteuid, abi::__NR_getegid].map(|nr| call!(nr).unwrap());
            noted.note(format!("{ids:?} secure {secure}"));
        });
        call!(abi::__NR_chown, memory::string("program"), 5, 6).unwrap();
        call!(abi::__NR_chmod, memory::string("program"), 0o6755).unwrap();
        let start = |prepare: fn()| {
            let child = fork(move || {
                prepare();
                call!(abi::__NR_setresgid, 70, 70, 70).unwrap();
                call!(abi::__NR_setresuid, 77, 77, 77).unwrap();
                exec("program", &[], &[]);
            });
            assert_eq!(end_of(child), 0);
        };
        start(|| {});
        assert_eq!(log.take(), ["[77, 5, 6] secure 1"]);
        start(|| {
            const PR_SET_NO_NEW_PRIVS: u32 = 38;
            call!(abi::__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).unwrap();
        });
        assert_eq!(log.take(), ["[77, 77, 70] secure 0"]);
    });
}

#[test]
fn too_many_strings_are_too_many() {
    machine(|| {
        make_program("program", || {});
        let child = fork(|| {
            set_limit(abi::RLIMIT_STACK, 600 << 10);
            let long = "x".repeat(100_000);
            assert_eq!(exec("program", &[&long, &long], &[]), Errno::E2BIG);
            let longest = "x".repeat(131_072);
            assert_eq!(exec("program", &[&longest], &[]), Errno::E2BIG, "one alone");
            exec("program", &[&long], &[]);
        });
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_program_is_named_after_its_file() {
    machine(|| {
        mkdir("folder").unwrap();
        let log = Log::default();
        let noted = log.clone();
        make_program("folder/a-very-long-name-indeed", move || {
            let own = call!(abi::__NR_getpid).unwrap();
            noted.note(text(&format!("/proc/{own}/comm")));
        });
        assert_eq!(run("folder/a-very-long-name-indeed", &["other"], &[]), 0);
        assert_eq!(log.take(), ["a-very-long-nam\n"], "15 bytes of it");
    });
}

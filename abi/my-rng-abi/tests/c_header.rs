// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles `include/my_rng.h` and compares every constant in it with the Rust one, under a C compiler with all warnings.

use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::{Command, Output};

use my_rng_abi::ioctl::{MapInfo, WideSeed};
use my_rng_abi::{ioctl, registers};

/// Every constant of the header and its value on the Rust side.
fn rust_constants() -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("MY_RNG_IOC_MAGIC", ioctl::MAGIC.into()),
        ("MY_RNG_IOCTL_RAND", ioctl::RAND.into()),
        ("MY_RNG_IOCTL_SEED", ioctl::SEED.into()),
        ("MY_RNG_IOCTL_RAND64", ioctl::RAND64.into()),
        ("MY_RNG_IOCTL_MAP_INFO", ioctl::MAP_INFO.into()),
        ("MY_RNG_IOCTL_WAKE", ioctl::WAKE.into()),
        ("MY_RNG_WIDE_SEED_STREAM", ioctl::WIDE_SEED_STREAM.into()),
        ("MY_RNG_IOCTL_SEED_WIDE", ioctl::SEED_WIDE.into()),
        ("MY_RNG_IOCTL_SEEK", ioctl::SEEK.into()),
    ])
}

/// Size and offsets of every structure, as C expressions, and their values on the Rust side.
fn rust_layout() -> BTreeMap<&'static str, u64> {
    let bytes = |count: usize| count as u64;
    BTreeMap::from([
        ("sizeof(struct my_rng_map_info)", bytes(size_of::<MapInfo>())),
        ("offsetof(struct my_rng_map_info,length)", bytes(offset_of!(MapInfo, length))),
        ("offsetof(struct my_rng_map_info,state_offset)", bytes(offset_of!(MapInfo, state_offset))),
        ("offsetof(struct my_rng_map_info,buffers_offset)", bytes(offset_of!(MapInfo, buffers_offset))),
        ("offsetof(struct my_rng_map_info,depth)", bytes(offset_of!(MapInfo, depth))),
        ("offsetof(struct my_rng_map_info,buffer_size)", bytes(offset_of!(MapInfo, buffer_size))),
        ("sizeof(struct my_rng_wide_seed)", bytes(size_of::<WideSeed>())),
        ("offsetof(struct my_rng_wide_seed,seed)", bytes(offset_of!(WideSeed, seed))),
        ("offsetof(struct my_rng_wide_seed,stream)", bytes(offset_of!(WideSeed, stream))),
        ("offsetof(struct my_rng_wide_seed,bits)", bytes(offset_of!(WideSeed, bits))),
        ("offsetof(struct my_rng_wide_seed,flags)", bytes(offset_of!(WideSeed, flags))),
    ])
}

fn header() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/include/my_rng.h"))
}

/// The names that the header defines, apart from its guard.
fn defined_names() -> Vec<String> {
    let text = fs::read_to_string(header()).expect("the header can be read");
    let names = text.lines().filter_map(|line| line.strip_prefix("#define ")).filter_map(|rest| {
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().map(str::to_owned)
    });
    names.filter(|name| name != "MY_RNG_H").collect()
}

/// Compiles a C program and runs it.
fn run_c(source: &str) -> Output {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let (file, program) = (directory.path().join("test.c"), directory.path().join("test"));
    fs::write(&file, source).expect("the C source can be written");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH); // The program runs here.
    let mut build = cc::Build::new();
    build.target(&target).host(&target).opt_level(0).out_dir(directory.path()).cargo_metadata(false);
    let compiler = build.try_get_compiler().unwrap_or_else(|error| {
        panic!("this test needs a C compiler (install gcc, or set CC to one): {error}");
    });
    let mut command: Command = compiler.to_command();
    let strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    command.args(strict).arg("-I").arg(header().parent().expect("it is in a directory"));
    let compiled = command.arg("-o").arg(&program).arg(&file).output().unwrap_or_else(|error| {
        panic!(
            "this test needs a C compiler (install gcc, or set CC to one): {}: {error}",
            compiler.path().display()
        );
    });
    assert!(
        compiled.status.success(),
        "the header does not compile:\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    Command::new(&program).output().expect("the compiled program runs")
}

/// What C expressions over the header are worth.
fn values_in_c(expressions: &[String]) -> BTreeMap<String, u64> {
    let line = |what: &String| format!("    printf(\"{what} %llu\\n\", (unsigned long long){what});\n");
    let lines = expressions.iter().map(line).collect::<Vec<_>>().concat();
    // Included twice: the guard must hold.
    let source = format!(
        "#include <my_rng.h>\n#include <my_rng.h>\n#include <stddef.h>\n#include <stdio.h>\n\
         int main(void)\n{{\n{lines}    return 0;\n}}\n"
    );
    let output = run_c(&source);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("numbers are text");
    text.lines()
        .map(|line| line.rsplit_once(' ').expect("an expression and a number"))
        .map(|(what, number)| (what.to_owned(), number.parse().expect("a number")))
        .collect()
}

fn owned(values: BTreeMap<&str, u64>) -> BTreeMap<String, u64> {
    values.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
}

#[test]
fn every_constant_has_the_same_value_in_c_and_in_rust() {
    assert_eq!(values_in_c(&defined_names()), owned(rust_constants()));
}

#[test]
fn every_structure_has_the_same_layout_in_c_and_in_rust() {
    let layout = owned(rust_layout());
    assert_eq!(values_in_c(&layout.keys().cloned().collect::<Vec<_>>()), layout);
}

#[test]
fn the_ioctl_numbers_are_those_that_programs_were_written_against() {
    assert_eq!(rust_constants()["MY_RNG_IOCTL_RAND"], 0x8004_7101);
    assert_eq!(rust_constants()["MY_RNG_IOCTL_SEED"], 0x4004_7101);
    assert_eq!(rust_constants()["MY_RNG_IOCTL_RAND64"], 0x8008_7102);
}

#[test]
fn registers_are_words_inside_the_region_and_apart() {
    use registers::{BAR0_SIZE, IDENT, RAND32, RAND64_HIGH, RAND64_LOW, SEED, VERSION};
    let mut offsets = [RAND32, SEED, RAND64_LOW, RAND64_HIGH, IDENT, VERSION];
    assert_eq!(offsets[..4], [0x00, 0x04, 0x08, 0x0c], "the classic interface never changes");
    offsets.sort_unstable();
    assert!(offsets.iter().all(|offset| offset % 4 == 0 && *offset < BAR0_SIZE));
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_wide_seed_is_its_words_and_a_command() {
    let words = std::array::from_fn(|place| place as u32 + 1);
    let seed = WideSeed::from_words(words);
    assert_eq!(seed, WideSeed { seed: [1, 2, 3, 4, 5, 6, 7, 8], stream: 0xa_0000_0009, bits: 11, flags: 12 });
    for (bits, flags, command) in [
        (32, 0, Some(32)),
        (64, 1, Some(0x1_0040)),
        (256, 0, Some(256)),
        (0, 0, None),
        (128, 0, None),
        (64, 2, None),
        (64, u32::MAX, None),
    ] {
        assert_eq!(WideSeed { bits, flags, ..seed }.command(), command, "{bits} {flags}");
    }
}

#[test]
fn a_driver_knows_what_a_generator_takes() {
    use registers::{GENERATOR_CHACHA20, GENERATOR_GLIBC, GENERATOR_PCG64, takes_seed_command};
    let (all, least) = (0x1f, registers::SEED_TAKES_32);
    for (generator, abilities, command, taken) in [
        (GENERATOR_GLIBC, least, 32, true),
        (GENERATOR_GLIBC, least, 64, false),
        (GENERATOR_GLIBC, least, registers::SEED_SEEK, false),
        (GENERATOR_GLIBC, least, 0x1_0020, false),
        (GENERATOR_CHACHA20, all, 0x1_0100, true),
        (GENERATOR_CHACHA20, all, registers::SEED_SEEK, true),
        (GENERATOR_CHACHA20, all, registers::SEED_SEEK | registers::SEED_WITH_STREAM, false),
        (GENERATOR_CHACHA20, all, 65, false),
        (GENERATOR_PCG64, all, 0x100, true),
        (GENERATOR_PCG64, all, 0x1_0040, true),
        (GENERATOR_PCG64, all, 0x1_0100, false),
    ] {
        assert_eq!(takes_seed_command(generator, abilities, command), taken, "{generator} {command:#x}");
    }
}

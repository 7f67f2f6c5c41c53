// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds out whether the compiler has AVX-512 intrinsics, which are stable since Rust 1.89 and faster than AVX2's by half.

fn main() {
    autocfg::rerun_path("build.rs");
    autocfg::emit_possibility("rustc_1_89");
    autocfg::new().emit_rustc_version(1, 89);
}

// SPDX-License-Identifier: GPL-2.0

//! Calls a C function of the same module, by bindings that Kbuild makes from its header.

use kernel::prelude::*;

/// What bindgen made of `adler32.h`.
#[allow(missing_docs, non_camel_case_types, unreachable_pub)]
mod bindings {
    include!(concat!(env!("C_HEADER_OBJ"), "/bindings_generated.rs"));
}

/// The Adler-32 checksum of some bytes.
fn adler32(bytes: &[u8]) -> u32 {
    // SAFETY: As many bytes as are said are there, and they are only read.
    unsafe { bindings::example_adler32(bytes.as_ptr(), bytes.len()) }
}

struct CHeader;

impl kernel::Module for CHeader {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("checksum {:08x}\n", adler32(b"Wikipedia"));
        Ok(Self)
    }
}

module! {
    type: CHeader,
    name: "c_header",
    authors: ["The Exo authors"],
    description: "Rust that calls the module's own C",
    license: "GPL",
}

#[kunit_tests(c_header)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"a"), 0x0062_0062);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }
}

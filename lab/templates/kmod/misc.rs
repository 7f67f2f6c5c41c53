// SPDX-License-Identifier: GPL-2.0

//! `/dev/@NAME@`: gives back what was written to it, in upper case.

use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

module! {
    type: @TYPE@Module,
    name: "@NAME@",
    authors: ["You"],
    description: "Gives back in upper case",
    license: "GPL",
}

/// The name in `/dev`.
const NAME: &CStr = c"@NAME@";

/// Most bytes that an open file keeps.
const CAPACITY: usize = 4096;

#[pin_data]
struct @TYPE@Module {
    #[pin]
    _device: MiscDeviceRegistration<@TYPE@>,
}

impl kernel::InPlaceModule for @TYPE@Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let options = MiscDeviceOptions { name: NAME };
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(options),
        })
    }
}

/// An open file.
#[pin_data]
struct @TYPE@ {
    /// What was written last.
    #[pin]
    text: Mutex<KVVec<u8>>,
}

#[vtable]
impl MiscDevice for @TYPE@ {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                text <- new_mutex!(KVVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let file = kiocb.file();
        let text = file.text.lock();
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), &text)
    }

    fn write_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        // Memory that a program chooses the size of is bounded.
        if iov.len() > CAPACITY {
            return Err(EMSGSIZE);
        }
        let file = kiocb.file();
        let mut text = file.text.lock();
        text.clear();
        let count = iov.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        text.iter_mut().for_each(|byte| *byte = upper_case(*byte));
        *kiocb.ki_pos_mut() = 0;
        Ok(count)
    }
}

/// The upper case of an ASCII letter; other bytes stay.
///
/// ```
/// assert_eq!(@NAME@::upper_case(b'x'), b'X');
/// ```
pub fn upper_case(byte: u8) -> u8 {
    byte.to_ascii_uppercase()
}

/// `cargo exo kmod test` runs these in a kernel.
#[kunit_tests(@NAME@)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_upper_case() {
        assert_eq!(upper_case(b'a'), b'A');
        assert_eq!(upper_case(b'Z'), b'Z');
    }

    #[test]
    fn other_bytes_stay() {
        assert_eq!(upper_case(b'1'), b'1');
        assert_eq!(upper_case(0xe4), 0xe4);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers as a table: where each is, and what reading and writing it does.

use super::{Access, Bus, Function};

type Read<F> = fn(&mut F, &Bus<<F as Function>::Outcome>) -> u64;
type Write<F> = fn(&mut F, u64, &Bus<<F as Function>::Outcome>);

/// A register of a [`Function`], for its table [`Function::registers`].
///
/// An access reaches a register if it begins at its offset and has one of its sizes. A larger one that does not is as if its
/// halves came one after the other, the lower one first. What reaches no register reads as ones, as on a bus on which nobody
/// answers, and writes nothing: part of a register is none.
///
/// ```
/// use vfio_user_server::function::{Bus, Function, Register};
///
/// struct Counter(u64);
///
/// impl Function for Counter {
///     type Outcome = ();
///
///     fn registers() -> &'static [Register<Self>] {
///         const {
///             &[
///                 Register::<Self>::at(0).read(|_, _| 0x0001_0000),
///                 Register::<Self>::at(4).read(|counter, _| counter.0).write(|counter, value, _| counter.0 = value),
///             ]
///         }
///     }
///
///     fn reset(&mut self) {
///         self.0 = 0;
///     }
/// }
/// ```
pub struct Register<F: Function> {
    bar: u8,
    offset: u64,
    least: u8,
    most: u8,
    read: Option<Read<F>>,
    write: Option<Write<F>>,
}

impl<F: Function> Register<F> {
    /// A register of 4 bytes at that offset of base address register 0, which reads 0 and cannot be written.
    pub const fn at(offset: u64) -> Self {
        Self { bar: 0, offset, least: 4, most: 4, read: None, write: None }
    }

    /// The same in the region of another base address register.
    #[must_use]
    pub const fn in_bar(self, bar: u8) -> Self {
        Self { bar, ..self }
    }

    /// The same for accesses of so many bytes. What is written with fewer than `most` has zeros above.
    #[must_use]
    pub const fn of_bytes(self, least: u8, most: u8) -> Self {
        Self { least, most, ..self }
    }

    /// The same with what reading it gives. What is beyond the size of the access is cut off.
    #[must_use]
    pub const fn read(self, read: Read<F>) -> Self {
        Self { read: Some(read), ..self }
    }

    /// The same with what writing it does.
    #[must_use]
    pub const fn write(self, write: Write<F>) -> Self {
        Self { write: Some(write), ..self }
    }

    fn is_at(&self, at: Access) -> bool {
        self.bar == at.bar && self.offset == at.offset && (self.least..=self.most).contains(&at.size)
    }
}

impl<F: Function> std::fmt::Debug for Register<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bar, offset, least, most, .. } = self;
        write!(formatter, "Register({bar}: {offset:#x}, {least} to {most} bytes)")
    }
}

fn find<F: Function>(at: Access) -> Option<&'static Register<F>> {
    F::registers().iter().find(|register| register.is_at(at))
}

/// The halves of an access.
fn halves(at: Access) -> Option<(Access, Access)> {
    let size = at.size / 2;
    let half = |offset| Access { size, offset, ..at };
    (size > 0).then(|| (half(at.offset), half(at.offset.saturating_add(size.into()))))
}

/// What reading there gives.
pub(super) fn read<F: Function>(function: &mut F, at: Access, bus: &Bus<F::Outcome>) -> u64 {
    if let Some(register) = find::<F>(at) {
        return register.read.map_or(0, |read| read(function, bus));
    }
    let Some((low, high)) = halves(at) else { return u64::MAX };
    let shift = u32::from(low.size).saturating_mul(8);
    let mask = u64::MAX >> (u64::BITS.saturating_sub(shift));
    let low = read(function, low, bus) & mask;
    low | read(function, high, bus) << shift
}

/// Does what writing there does.
pub(super) fn write<F: Function>(function: &mut F, at: Access, value: u64, bus: &Bus<F::Outcome>) {
    if let Some(register) = find::<F>(at) {
        if let Some(write) = register.write {
            write(function, value, bus);
        }
    } else if let Some((low, high)) = halves(at) {
        let shift = u32::from(low.size).saturating_mul(8);
        let mask = u64::MAX >> (u64::BITS.saturating_sub(shift));
        write(function, low, value & mask, bus);
        write(function, high, value >> shift, bus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Two {
        small: u64,
        wide: u64,
        reads: u32,
    }

    impl Function for Two {
        type Outcome = ();

        fn registers() -> &'static [Register<Self>] {
            const {
                &[
                    Register::<Self>::at(0).read(|_, _| 0x1234_5678),
                    Register::<Self>::at(4)
                        .read(|two, _| {
                            two.reads += 1;
                            two.small
                        })
                        .write(|two, value, _| two.small = value),
                    Register::<Self>::at(8)
                        .of_bytes(4, 8)
                        .read(|two, _| two.wide)
                        .write(|two, value, _| two.wide = value),
                    Register::<Self>::at(0).in_bar(2).of_bytes(1, 1).write(|two, value, _| two.small = value),
                ]
            }
        }

        fn reset(&mut self) {}
    }

    fn at(bar: u8, offset: u64, size: u8) -> Access {
        Access::new(bar, offset, size)
    }

    #[test]
    fn an_access_reaches_whole_registers_and_nothing_else() {
        let (mut two, bus) = (Two::default(), Bus::new().unwrap().0);
        two.write(at(0, 4, 4), 7, &bus);
        assert_eq!(two.read(at(0, 4, 4), &bus), 7);
        assert_eq!(two.read(at(0, 0, 8), &bus), 0x7_1234_5678, "two registers");
        assert_eq!(two.reads, 2);
        two.write(at(0, 0, 8), 0x9_0000_0001, &bus);
        assert_eq!(two.small, 9, "the other one cannot be written");
        for (offset, size) in [(4, 2), (6, 2), (4, 1), (16, 4), (16, 8)] {
            two.write(at(0, offset, size), 5, &bus);
            let ones = u64::MAX >> (64 - 8 * u32::from(size));
            assert_eq!(two.read(at(0, offset, size), &bus) & ones, ones, "{offset}");
        }
        assert_eq!((two.small, two.reads), (9, 2));
    }

    #[test]
    fn a_register_can_have_several_sizes_and_be_in_another_region() {
        let (mut two, bus) = (Two::default(), Bus::new().unwrap().0);
        two.write(at(0, 8, 8), u64::MAX, &bus);
        two.write(at(0, 8, 4), 3, &bus);
        assert_eq!((two.wide, two.read(at(0, 8, 8), &bus)), (3, 3));
        two.write(at(2, 0, 1), 6, &bus);
        assert_eq!((two.small, two.read(at(2, 0, 1), &bus)), (6, 0), "it can only be written");
        two.write(at(1, 0, 1), 8, &bus);
        assert_eq!(two.small, 6);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wall clock that a PC keeps while it is off (MC146818), read once at boot.

use x86_64::instructions::port::Port;

fn read(register: u8) -> u8 {
    // SAFETY: CMOS index and data ports; reading a clock register changes nothing. Bit 7 keeps NMIs as they are: on.
    unsafe {
        Port::<u8>::new(0x70).write(register);
        Port::<u8>::new(0x71).read()
    }
}

/// Seconds since 1970 (UTC) as the clock has them.
pub fn seconds() -> u64 {
    let fields = || [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32].map(read);
    let mut now = fields();
    // An update may come between two reads: two equal readings have none in between.
    for _ in 0..1000 {
        let again = fields();
        if again == now && read(0x0a) & 0x80 == 0 {
            break;
        }
        now = again;
    }
    let format = read(0x0b);
    let binary =
        |v: u8| if format & 4 != 0 { u64::from(v) } else { u64::from(v >> 4) * 10 + u64::from(v & 15) };
    let [second, minute, hour, day, month, year, century] = now;
    let afternoon = hour & 0x80 != 0;
    let mut hour = binary(hour & 0x7f);
    if format & 2 == 0 {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let century = if (0x19..=0x21).contains(&century) { binary(century) } else { 20 };
    exo_logic::time::seconds_since_1970(
        century * 100 + binary(year),
        binary(month),
        binary(day),
        hour,
        binary(minute),
        binary(second),
    )
}

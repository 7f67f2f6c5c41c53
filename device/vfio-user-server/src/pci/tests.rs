// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration space.

use super::capabilities::EXPRESS_SIZE;
use super::*;

fn config() -> ConfigSpace {
    ConfigSpace::new(&Identity {
        vendor: 0x1234,
        device: 0xcafe,
        revision: 0x10,
        class: 0x00_ff_00,
        subsystem_vendor: 0x5678,
        subsystem: 0x9abc,
    })
}

#[test]
fn the_header_is_laid_out_as_pci_says() {
    let config = config();
    assert_eq!(config.get(0), [0x34, 0x12, 0xfe, 0xca]);
    assert_eq!(config.get(8), [0x10, 0x00, 0xff, 0x00]);
    assert_eq!(config.get(0x2c), [0x78, 0x56, 0xbc, 0x9a]);
    assert_eq!(config.get::<1>(0x0e), [0], "header type 0, one function");
    assert_eq!(config.get::<2>(0x3d), [0, 0], "no interrupt pin");
}

#[test]
fn only_masked_bits_can_be_written() {
    let mut config = config().with_memory_bar(1, 0x2000);
    config.write(0, &[0xff; CONFIG_SPACE_SIZE]);
    assert_eq!(config.get(0), [0x34, 0x12, 0xfe, 0xca]);
    assert_eq!(u16::from_le_bytes(config.get(COMMAND)), COMMAND_WRITABLE);
    assert_eq!(u32::from_le_bytes(config.get(BAR0)), 0, "a region that is not there");
    assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0xffff_e000);
    assert!(config.is_bus_master());
    config.reset();
    assert!(!config.is_bus_master());
    assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0);
}

#[test]
fn a_write_of_part_of_a_register_leaves_the_rest() {
    let mut config = config().with_memory_bar(0, 4096);
    config.write(BAR0, &0x1234_5000_u32.to_le_bytes());
    config.write(BAR0 + 3, &[0xfe]);
    assert_eq!(u32::from_le_bytes(config.get(BAR0)), 0xfe34_5000);
}

#[test]
fn capabilities_form_a_list() {
    let config = config().with_capability(0x11, &[1, 0, 2, 0], &[0; 4]).with_capability(9, &[7], &[0xff]);
    assert_eq!(u16::from_le_bytes(config.get(STATUS)), STATUS_CAPABILITIES);
    let [first] = config.get(CAPABILITIES);
    let [id, second] = config.get(first.into());
    assert_eq!((first, id), (0x40, 0x11));
    let [id, end, body] = config.get(second.into());
    assert_eq!((second, id, end, body), (0x48, 9, 0, 7));
}

#[test]
fn msi_is_laid_out_as_pci_says() {
    let mut config = config().with_msi(32);
    let mut capability = [0; 14];
    config.read(0x40, &mut capability);
    assert_eq!(capability, [0x05, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    config.write(0x40, &[0xff; 14]);
    config.read(0x40, &mut capability);
    assert_eq!(capability[..4], [0x05, 0, 0xfb, 0], "enable and the grant can be set");
    assert_eq!(capability[4..], [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
#[should_panic(expected = "MSI cannot have 33 vectors")]
fn msi_has_at_most_32_vectors() {
    let _ = config().with_msi(33);
}

#[test]
fn msix_is_laid_out_as_pci_says() {
    let msix = MsixTable { vectors: 33, table: (1, 0), pending_bits: (1, 0x800) };
    let mut config = config().with_msix(&msix);
    let expected = [0x11, 0, 32, 0, 1, 0, 0, 0, 1, 8, 0, 0];
    assert_eq!(config.get(FIRST_CAPABILITY), expected);
    assert!(!config.is_msix_enabled());
    config.write(FIRST_CAPABILITY, &[0xff; 12]);
    assert!(config.is_msix_enabled());
    assert_eq!(config.get(FIRST_CAPABILITY), [0x11, 0, 32, 0xc0, 1, 0, 0, 0, 1, 8, 0, 0]);
}

#[test]
#[should_panic(expected = "overlap")]
fn msix_parts_that_overlap_are_a_bug() {
    let _ = config().with_msix(&MsixTable { vectors: 33, table: (1, 0), pending_bits: (1, 0x208) });
}

#[test]
fn a_64_bit_region_takes_two_registers() {
    let mut config = config().with_memory_bar64(2, 1 << 33, true);
    assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), 0xc, "64 bits, prefetchable");
    config.write(BAR0 + 8, &[0xff; 8]);
    assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), !((1 << 33) - 1) | 0xc);
    config.reset();
    assert_eq!(u64::from_le_bytes(config.get(BAR0 + 8)), 0xc);
}

#[test]
fn an_io_region_can_be_enabled() {
    let mut config = config().with_io_bar(1, 32);
    config.write(BAR0 + 4, &[0xff; 4]);
    assert_eq!(u32::from_le_bytes(config.get(BAR0 + 4)), 0xffff_ffe1);
    config.write(COMMAND, &[1, 0]);
    assert_eq!(u16::from_le_bytes(config.get(COMMAND)), 1);
}

#[test]
fn the_pin_and_its_state_are_shown() {
    let mut config = config().with_interrupt_pin(1);
    assert_eq!(config.get(INTERRUPT_PIN), [1]);
    assert!(config.allows_pin_interrupts());
    config.show_pin_interrupt(true);
    config.write(COMMAND, &[0, 4]);
    assert!(!config.allows_pin_interrupts());
    assert_eq!(u16::from_le_bytes(config.get(STATUS)), STATUS_INTERRUPT);
    config.show_pin_interrupt(false);
    assert_eq!(u16::from_le_bytes(config.get(STATUS)), 0);
}

#[test]
fn power_management_knows_two_states() {
    let mut config = config().with_msi(1).with_power_management();
    let at = 0x50;
    assert_eq!(config.get(at), [0x01, 0, 3, 0, 8, 0]);
    for (wanted, got) in [(3, 3), (0, 0), (1, 0), (2, 0), (0xff, 3)] {
        config.write(at + 4, &[wanted]);
        assert_eq!(config.power_state(), got, "{wanted}");
    }
    config.reset();
    assert_eq!(config.power_state(), 0);
}

#[test]
fn an_express_endpoint_is_laid_out_as_pci_says() {
    let mut config = config().with_express().with_power_management();
    assert_eq!(config.get(0x40), [0x10, 0x7c, 2, 0, 0, 0x80, 0, 0, 0x10, 0x28, 0, 0, 0x11, 0, 0, 0]);
    assert_eq!(config.get(0x50), [0, 0, 0x11, 0], "the link's state");
    config.write(0x40, &[0xff; EXPRESS_SIZE]);
    assert_eq!(u16::from_le_bytes(config.get(0x48)), 0x7fff, "device control");
    assert_eq!(config.get(0x4c), [0x11, 0, 0, 0, 0xcb, 0, 0x11, 0]);
    let mut beyond = [1; 4];
    config.read(0x100, &mut beyond);
    assert_eq!(beyond, [0; 4], "no extended capability");
}

#[test]
fn nothing_lies_beyond_the_end() {
    let mut config = config();
    let before = config.clone();
    config.write(CONFIG_SPACE_SIZE, &[0xff; 8]);
    config.write(usize::MAX, &[0xff; 8]);
    assert_eq!(config, before);
    let mut data = [0xaa; 8];
    config.read(CONFIG_SPACE_SIZE - 4, &mut data);
    assert_eq!(data, [0; 8]);
    config.read(usize::MAX, &mut data);
    assert_eq!(data, [0; 8]);
}

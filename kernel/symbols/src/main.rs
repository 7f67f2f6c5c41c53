// SPDX-License-Identifier: MIT OR Apache-2.0
//! `exo-symbols KERNEL`: fills the section `.ksyms` of a kernel image, in place, with a compact table of its functions.
//! Without this step the kernel works the same; its back traces then have addresses only.

use std::{env, fs, process::ExitCode};

use exo_logic::symbols;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

fn run(path: &str) -> Result<usize, String> {
    let mut bytes = fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let file = object::File::parse(&*bytes).map_err(|e| format!("{path} is not an ELF file: {e}"))?;
    let section = file.section_by_name(".ksyms").ok_or_else(|| format!("{path} has no section .ksyms"))?;
    let (start, size) = section.file_range().ok_or_else(|| format!("{path}: .ksyms is empty"))?;
    let functions: Vec<_> = file
        .symbols()
        .filter(|s| s.kind() == SymbolKind::Text && s.address() != 0)
        .filter_map(|s| Some((s.address(), format!("{:#}", rustc_demangle::demangle(s.name().ok()?)))))
        .collect();
    let count = functions.len();
    let (start, size) = (start as usize, size as usize);
    let table = symbols::build(functions, size).ok_or_else(|| {
        format!("{path}: {count} functions do not fit into .ksyms; make `SPACE` in kernel/logic/src/symbols.rs larger")
    })?;
    bytes
        .get_mut(start..start + table.len())
        .ok_or_else(|| format!("{path}: .ksyms lies outside the file"))?
        .copy_from_slice(&table);
    fs::write(path, bytes).map_err(|e| format!("cannot write {path}: {e}"))?;
    Ok(count)
}

fn main() -> ExitCode {
    let Some(path) = env::args().nth(1) else {
        eprintln!("usage: exo-symbols KERNEL");
        return ExitCode::from(2);
    };
    match run(&path) {
        Ok(count) => {
            println!("{path}: {count} functions named");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("exo-symbols: {error}");
            ExitCode::FAILURE
        }
    }
}

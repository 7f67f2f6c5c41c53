// SPDX-License-Identifier: MIT OR Apache-2.0
//! `net-bench`: what sockets and event files cost, by the same binary on Linux and on Exo-Kernel.
//!
//! ```text
//! rows ──▶ streams (bytes a second, round trips and connections, through any kind of stream)
//!      ──▶ packets (round trips by datagrams)
//!      ──▶ partner (bytes a second, round trips and connections with another machine)
//!      ──▶ events  (epoll, with few and with many descriptors that are idle)
//! ```
//!
//! But for those of `partner`, both ends are threads of this program, so that no network but the kernel's own is measured.
#![forbid(unsafe_code)]

mod arguments;
mod events;
mod packets;
mod partner;
mod rows;
mod streams;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.serve {
        return bench_report::exit_code("net-bench", partner::serve(port));
    }
    if let Some(address) = arguments.partner {
        partner::choose(address);
    }
    bench_report::exit_code("net-bench", bench_report::run(rows::ALL, &arguments.rows, arguments.options))
}

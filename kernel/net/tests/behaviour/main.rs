// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the network is to programs, on a machine of the host: see `exo-test-support`.

mod ancillary;
mod ends;
mod inet;
mod interfaces;
mod options;
mod outside;
mod peeks;
mod rooms;
mod streams_and_messages;
mod support;

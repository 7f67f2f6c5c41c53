// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs do, on a machine of the host: see `exo-test-support`.

mod processes;

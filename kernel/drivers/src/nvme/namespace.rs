// SPDX-License-Identifier: MIT OR Apache-2.0
//! A namespace: the part of a controller that is a disk.

use alloc::sync::Arc;

use exo_platform::MAX_TRANSFER;

use super::{controller::Controller, identify::NamespaceInfo};
use crate::block::{Cause, DeviceName, Geometry, Refused, Request, Requests, Tag, slots};

/// One namespace of a controller.
pub(super) struct Namespace {
    controller: Arc<Controller>,
    number: u32,
    geometry: Geometry,
}

impl Namespace {
    pub(super) fn new(controller: &Arc<Controller>, number: u32, info: NamespaceInfo) -> Self {
        let geometry = Geometry {
            sectors: info.blocks,
            sector_size: info.block_size,
            max_transfer: controller.info.max_transfer.unwrap_or(MAX_TRANSFER).min(MAX_TRANSFER),
            queues: controller.queue_count(),
            depth: controller.depth(),
            read_only: info.is_read_only,
            discard: controller.info.has_discard,
            numa: None,
        };
        Self { controller: controller.clone(), number, geometry }
    }
}

impl Requests for Namespace {
    fn name(&self) -> DeviceName {
        slots::numbered(self.controller.name(), 'n', self.number)
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn model(&self) -> &str {
        &self.controller.info.model
    }

    fn serial(&self) -> &str {
        &self.controller.info.serial
    }

    #[inline]
    fn submit(&self, cpu: usize, request: Request) -> Result<Tag, Refused> {
        if let Err(cause) = self.geometry.check(&request) {
            return Err(self.refuse(request, cause));
        }
        match self.controller.queue(cpu) {
            Some(queue) => {
                queue.submit(self.number, request).map_err(|(request, cause)| self.refuse(request, cause))
            }
            None => Err(self.refuse(request, Cause::NotReady)),
        }
    }

    fn ring(&self, cpu: usize) {
        if let Some(queue) = self.controller.queue(cpu) {
            queue.ring();
        }
    }

    fn poll(&self, cpu: usize) -> usize {
        self.controller.queue(cpu).map_or(0, |queue| queue.poll())
    }

    fn cancel(&self, cpu: usize, tag: Tag) -> bool {
        self.controller.queue(cpu).is_some_and(|queue| queue.cancel(tag))
    }

    fn check_timeouts(&self, now_ns: u64) {
        self.controller.check(now_ns);
    }

    fn is_present(&self) -> bool {
        self.controller.is_present()
    }
}

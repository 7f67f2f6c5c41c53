// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that a device works on, by slot. All memory is made at the start; no request allocates.

use alloc::{boxed::Box, vec::Vec};

use super::{Cause, Completion, DeviceName, Operation, Request, TIMEOUT_NS, Tag};
use crate::block::device_name;

/// How often a request is given to a device again when a reset took it away though it was not to blame.
const MAX_ATTEMPTS: u8 = 3;

/// A request in its slot.
#[derive(Debug)]
pub struct InFlight<T> {
    /// The request.
    pub request: Request,
    /// What the driver keeps beside it.
    pub extra: T,
    /// Nanoseconds since boot when it was given to the device, as exact as the timer that looks for time-outs.
    since_ns: u64,
    attempts: u8,
}

struct Slot<T> {
    content: Option<InFlight<T>>,
    /// How often the slot was used, so that a tag is not mistaken for a later request in the same slot.
    uses: u16,
}

/// A fixed number of slots.
pub struct Slots<T> {
    slots: Box<[Slot<T>]>,
    /// The slots that are free. Its capacity is the number of slots, so it never grows.
    free: Vec<u16>,
    /// The time, as the timer last told it: asking the clock for each request would cost more than it gives.
    now_ns: u64,
}

impl<T> Slots<T> {
    /// `count` slots, all free.
    pub fn new(count: u16) -> Self {
        let slots = (0..count).map(|_| Slot { content: None, uses: 0 }).collect();
        Self { slots, free: (0..count).rev().collect(), now_ns: exo_platform::now_ns() }
    }

    /// How many are taken.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// The request comes back if no slot is free.
    pub fn insert(&mut self, request: Request, extra: T) -> Result<(u16, Tag), Request> {
        let Some(number) = self.free.pop() else { return Err(request) };
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return Err(request) };
        slot.uses = slot.uses.wrapping_add(1);
        slot.content = Some(InFlight { request, extra, since_ns: self.now_ns, attempts: 0 });
        Ok((number, Tag((u32::from(slot.uses) << 16) | u32::from(number))))
    }

    /// What is in a slot.
    pub fn get(&self, number: u16) -> Option<&InFlight<T>> {
        self.slots.get(usize::from(number))?.content.as_ref()
    }

    /// What is in a slot, to be changed.
    pub fn get_mut(&mut self, number: u16) -> Option<&mut InFlight<T>> {
        self.slots.get_mut(usize::from(number))?.content.as_mut()
    }

    /// Takes a request out and frees its slot. None for a slot that is free or does not exist: a device may say any number.
    pub fn take(&mut self, number: u16) -> Option<InFlight<T>> {
        let content = self.slots.get_mut(usize::from(number))?.content.take()?;
        self.free.push(number);
        Some(content)
    }

    /// The slot that `tag` names, if its request is still in it.
    pub fn slot_of(&self, tag: Tag) -> Option<u16> {
        let number = (tag.0 & 0xffff) as u16;
        (self.tag_of(number)? == tag).then_some(number)
    }

    /// The tag of the request in a slot.
    #[inline]
    pub fn tag_of(&self, number: u16) -> Option<Tag> {
        let slot = self.slots.get(usize::from(number))?;
        slot.content.as_ref()?;
        Some(Tag((u32::from(slot.uses) << 16) | u32::from(number)))
    }

    /// The slots that are taken.
    pub fn taken(&self) -> impl Iterator<Item = (u16, &InFlight<T>)> + '_ {
        (0..).zip(self.slots.iter()).filter_map(|(number, slot)| Some((number, slot.content.as_ref()?)))
    }

    /// Takes out the first request that `wanted` holds for.
    pub fn take_if(&mut self, mut wanted: impl FnMut(&InFlight<T>) -> bool) -> Option<InFlight<T>> {
        let number = self.taken().find(|(_, content)| wanted(content))?.0;
        self.take(number)
    }

    /// Tells the time, which requests are stamped with until the next call.
    pub fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// The slots whose requests were given to the device longer than [`TIMEOUT_NS`] plus `grace_ns` ago.
    pub fn overdue(&self, grace_ns: u64) -> impl Iterator<Item = u16> + '_ {
        let limit = TIMEOUT_NS.saturating_add(grace_ns);
        self.taken()
            .filter(move |(_, content)| content.waited_ns(self.now_ns) > limit)
            .map(|(number, _)| number)
    }

    /// Notes that a request is given to the device now.
    #[inline]
    pub fn restamp(&mut self, number: u16) {
        let now_ns = self.now_ns;
        if let Some(content) = self.get_mut(number) {
            content.since_ns = now_ns;
        }
    }

    /// Notes that all requests are given to the device again from now on.
    pub fn repeat_all(&mut self) {
        for content in self.slots.iter_mut().filter_map(|slot| slot.content.as_mut()) {
            content.since_ns = self.now_ns;
            content.attempts = content.attempts.saturating_add(1);
        }
    }
}

impl<T> InFlight<T> {
    /// How long the device has had it.
    pub fn waited_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns)
    }

    /// Whether the device may be given it once more after a reset.
    pub fn may_repeat(&self) -> bool {
        self.attempts + 1 < MAX_ATTEMPTS
    }
}

impl Request {
    /// Ends a request that device `name` had taken: its sink is told. Not with a lock held that the sink may want.
    #[inline]
    pub fn end(self, name: impl FnOnce() -> DeviceName, result: Result<(), Cause>) {
        let Self { operation, sector, buffer, sectors: _, sink, token } = self;
        let result = match result {
            Ok(()) => Ok(buffer.as_ref().map_or(0, exo_platform::Buffer::len)),
            Err(cause) => {
                let sector = (operation != Operation::Flush).then_some(sector);
                Err(super::BlockError { device: name(), sector, cause })
            }
        };
        sink.complete(Completion { token, operation, buffer, result });
    }
}

/// A device's name from its controller's and its own number, such as `nvme0` and `n1`.
pub fn numbered(controller: &DeviceName, kind: char, number: u32) -> DeviceName {
    device_name(format_args!("{controller}{kind}{number}"))
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::block::Sink;

    struct Nobody;
    impl Sink for Nobody {
        fn complete(&self, _completion: Completion) {}
    }

    fn flush(token: u64) -> Request {
        Request {
            operation: Operation::Flush,
            sector: 0,
            buffer: None,
            sectors: 0,
            sink: Arc::new(Nobody),
            token,
        }
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let mut slots = Slots::new(2);
        let (first, _) = slots.insert(flush(1), ()).unwrap();
        slots.insert(flush(2), ()).unwrap();
        assert_eq!(slots.insert(flush(3), ()).unwrap_err().token, 3);
        assert_eq!(slots.in_flight(), 2);
        assert_eq!(slots.take(first).unwrap().request.token, 1);
        assert!(slots.take(first).is_none() && slots.take(77).is_none());
        slots.insert(flush(4), ()).unwrap();
        assert_eq!(slots.taken().map(|(_, c)| c.request.token).sum::<u64>(), 6);
    }

    #[test]
    fn a_tag_is_good_for_one_use_of_its_slot() {
        let mut slots = Slots::new(1);
        let (number, tag) = slots.insert(flush(1), ()).unwrap();
        assert_eq!(slots.slot_of(tag), Some(number));
        slots.take(number);
        assert_eq!(slots.slot_of(tag), None);
        let (_, later) = slots.insert(flush(2), ()).unwrap();
        assert_eq!((slots.slot_of(tag), slots.slot_of(later)), (None, Some(number)));
    }

    #[test]
    fn requests_are_overdue_by_the_time_they_were_given_to_the_device() {
        let mut slots = Slots::new(2);
        slots.set_time(1000);
        slots.insert(flush(1), ()).unwrap();
        slots.set_time(1000 + TIMEOUT_NS);
        slots.insert(flush(2), ()).unwrap();
        assert_eq!(slots.overdue(0).count(), 0);
        slots.set_time(1001 + TIMEOUT_NS);
        assert_eq!(slots.overdue(0).count(), 1);
        assert_eq!(slots.overdue(10).count(), 0);
        slots.repeat_all();
        assert_eq!(slots.overdue(0).count(), 0);
        assert!(slots.get(0).unwrap().may_repeat());
        slots.repeat_all();
        assert!(!slots.get(0).unwrap().may_repeat());
    }
}

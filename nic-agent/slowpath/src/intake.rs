//! Packets that were received and are not served yet: of a burst that is expensive, other ports need not
//! wait for the whole. All of it is served before the worker does anything else.

use core::fmt;

use nic_flow::seam::{BURST, Burst};

/// Packets that are served in one go, however expensive they are: fewer would not pay for looking at the
/// other ports.
const LEAST: usize = 4;
/// Costs are kept in parts of this.
const UNIT: u32 = 16;
/// After a portion that was cheaper, so large a part of what a packet was thought to cost is forgotten: what
/// is cheap in between does not make the next packets so.
const FORGOTTEN: u32 = 8;

/// What waits, by port.
pub(crate) struct Intake<B> {
    ports: Vec<Waiting<B>>,
    /// How many packets wait.
    held: usize,
}

/// What waits of one port.
struct Waiting<B> {
    packets: Burst<B>,
    /// What a packet is thought to cost.
    cost: u32,
    /// A burst was not served whole: no other is received before [`Intake::open`].
    closed: bool,
}

impl<B> Intake<B> {
    pub(crate) const fn new() -> Intake<B> {
        Intake { ports: Vec::new(), held: 0 }
    }

    /// There are so many ports.
    pub(crate) fn adopt(&mut self, ports: usize) {
        if self.ports.len() < ports {
            self.ports.resize_with(ports, || Waiting { packets: Burst::new(), cost: UNIT, closed: false });
        }
    }

    /// Every port may receive again.
    pub(crate) fn open(&mut self) {
        self.ports.iter_mut().for_each(|port| port.closed = false);
    }

    /// Puts into `portion`, which is empty, as many packets of a port as what is left of its share should pay
    /// for. Receives if none wait. Returns how many there are.
    pub(crate) fn take(
        &mut self,
        port: u16,
        share: i64,
        portion: &mut Burst<B>,
        receive: impl FnOnce(&mut Burst<B>) -> usize,
    ) -> usize {
        let waiting = &mut self.ports[usize::from(port)];
        let before = waiting.packets.len();
        if before == 0 && !waiting.closed {
            receive(&mut waiting.packets);
        }
        let paid = share * i64::from(UNIT) / i64::from(waiting.cost);
        let paid = usize::try_from(paid).unwrap_or(0).clamp(LEAST, BURST);
        if paid >= waiting.packets.len() {
            core::mem::swap(portion, &mut waiting.packets);
        } else {
            portion.extend(waiting.packets.drain(..paid));
            waiting.closed = true;
        }
        self.held = self.held + waiting.packets.len() - before;
        portion.len()
    }

    /// The portion that a port gave last had so many packets, and cost so much.
    pub(crate) fn cost(&mut self, port: u16, packets: usize, cost: i64) {
        let each = cost * i64::from(UNIT) / packets.max(1) as i64;
        let each = u32::try_from(each).unwrap_or(u32::MAX).max(UNIT);
        let known = &mut self.ports[usize::from(port)].cost;
        *known = each.max(*known - *known / FORGOTTEN);
    }

    /// True if packets of any port wait.
    pub(crate) const fn holds(&self) -> bool {
        self.held > 0
    }

    /// True if packets of the port wait.
    pub(crate) fn has_more(&self, port: u16) -> bool {
        !self.ports[usize::from(port)].packets.is_empty()
    }
}

impl<B> fmt::Debug for Intake<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ports.iter().map(|port| port.packets.len())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes from a port that has 32 packets at a time for ever, numbered.
    fn take(intake: &mut Intake<u64>, next: &mut u64, share: i64) -> Vec<u64> {
        let mut portion = Burst::new();
        let receive = |burst: &mut Burst<u64>| {
            while burst.push(*next).is_ok() {
                *next += 1;
            }
            burst.len()
        };
        if !intake.holds() {
            intake.open();
        }
        let count = intake.take(0, share, &mut portion, receive);
        assert_eq!(count, portion.len());
        portion.to_vec()
    }

    #[test]
    fn expensive_packets_are_served_in_small_portions_and_all_in_their_order() {
        let (mut intake, mut next) = (Intake::new(), 0);
        intake.adopt(1);
        let (mut all, mut largest) = (Vec::new(), 0);
        for round in 0..100 {
            let portion = take(&mut intake, &mut next, 64);
            intake.cost(0, portion.len(), portion.len() as i64 * 17);
            if round > 0 {
                largest = largest.max(portion.len());
            }
            all.extend(portion);
        }
        assert_eq!(largest, LEAST);
        assert!(all.iter().copied().eq(0..all.len() as u64));
    }

    #[test]
    fn cheap_packets_are_served_whole_and_soon_again_after_an_expensive_one() {
        let (mut intake, mut next) = (Intake::new(), 0);
        intake.adopt(1);
        assert_eq!(take(&mut intake, &mut next, 64).len(), BURST);
        intake.cost(0, 32, 32 + 32 * 16);
        let portions = std::iter::repeat_with(|| {
            let portion = take(&mut intake, &mut next, 64).len();
            intake.cost(0, portion, portion as i64);
            portion
        });
        let portions: Vec<usize> = portions.take(40).collect();
        assert_eq!(portions[0], LEAST, "one cheap portion does not make the next one whole");
        assert!(portions[1] < BURST / 2);
        assert_eq!(portions[39], BURST);
    }

    #[test]
    fn what_is_received_may_be_less_than_is_paid_for() {
        let mut intake: Intake<u64> = Intake::new();
        intake.adopt(2);
        let mut portion = Burst::new();
        assert_eq!(intake.take(1, 64, &mut portion, |_| 0), 0);
        assert_eq!(intake.take(1, -5, &mut portion, |burst| burst.push(7).map_or(0, |()| 1)), 1);
        assert!(portion.iter().eq(&[7]) && !intake.has_more(1));
    }

    #[test]
    fn a_port_that_was_not_served_whole_receives_no_more_until_all_were_asked_again() {
        let mut intake: Intake<u64> = Intake::new();
        intake.adopt(1);
        intake.cost(0, 1, 17);
        let mut received = 0;
        for _ in 0..2 {
            intake.open();
            // A burst of 6 in two portions, and then nothing.
            for (expected, left) in [(4, true), (2, false), (0, false), (0, false)] {
                let mut portion = Burst::new();
                intake.take(0, 64, &mut portion, |burst| {
                    received += 1;
                    burst.extend(0..6);
                    6
                });
                assert_eq!((portion.len(), intake.holds(), intake.has_more(0)), (expected, left, left));
            }
        }
        assert_eq!(received, 2);
    }
}

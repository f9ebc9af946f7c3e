//! What each port holds of something of which there is only so much: flows of the cache, flows of the
//! full-key shape, rules of the E-Switch.
//!
//! While there is room anyone may take more than an equal share. Once there is none, a port that holds
//! less than its share gets room from the one that holds most over its own, and nobody falls below it.

/// Things of a port that are looked at for the one to take away.
const LOOKED_AT: usize = 16;
/// The thing in that slot is in nobody's list.
const NOWHERE: u32 = u32::MAX;

/// Things by slot, and whose account they are in.
#[derive(Debug)]
pub(crate) struct Shares {
    capacity: u32,
    held: u32,
    /// By index of the port.
    ports: Vec<Account>,
    /// Ports that have a share.
    entitled: u32,
    /// By slot: where it stands in its port's list.
    places: Vec<u32>,
}

#[derive(Debug, Default)]
struct Account {
    entitled: bool,
    /// Things in this account, those counted that are on their way out.
    held: u32,
    /// Those that may be taken away.
    slots: Vec<u32>,
    /// Where the next look begins.
    hand: usize,
}

impl Shares {
    pub(crate) const fn new(capacity: u32) -> Shares {
        Shares { capacity, held: 0, ports: Vec::new(), entitled: 0, places: Vec::new() }
    }

    /// There are that many ports.
    pub(crate) fn adopt(&mut self, ports: usize) {
        self.ports.resize_with(ports, Account::default);
    }

    /// Whether a port has a share: whether its device is there.
    pub(crate) fn entitle(&mut self, port: u16, entitled: bool) {
        let account = &mut self.ports[usize::from(port)];
        self.entitled -= u32::from(account.entitled);
        self.entitled += u32::from(entitled);
        account.entitled = entitled;
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.held >= self.capacity
    }

    /// Things in all accounts.
    pub(crate) const fn held(&self) -> u32 {
        self.held
    }

    /// Things in a port's account.
    pub(crate) fn held_by(&self, port: u16) -> u32 {
        self.ports[usize::from(port)].held
    }

    /// Things of a port that may be taken away, in no order.
    pub(crate) fn slots(&self, port: u16) -> &[u32] {
        &self.ports[usize::from(port)].slots
    }

    /// The thing in that slot is one more of the port's.
    pub(crate) fn add(&mut self, port: u16, slot: u32) {
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, NOWHERE);
        }
        debug_assert_eq!(self.places[slot as usize], NOWHERE);
        let account = &mut self.ports[usize::from(port)];
        self.places[slot as usize] = account.slots.len() as u32;
        account.slots.push(slot);
        account.held += 1;
        self.held += 1;
    }

    /// The thing in that slot is gone, if the port has it.
    pub(crate) fn remove(&mut self, port: u16, slot: u32) {
        if self.leave(port, slot) {
            self.settle(port);
        }
    }

    /// The thing in that slot is on its way out, if the port has it: it stays in the account until
    /// [`Shares::settle`] and cannot be taken away any more. True if the port had it.
    pub(crate) fn leave(&mut self, port: u16, slot: u32) -> bool {
        let Some(place) = self.places.get_mut(slot as usize).filter(|place| **place != NOWHERE) else {
            return false;
        };
        let at = core::mem::replace(place, NOWHERE);
        let slots = &mut self.ports[usize::from(port)].slots;
        slots.swap_remove(at as usize);
        if let Some(&moved) = slots.get(at as usize) {
            self.places[moved as usize] = at;
        }
        true
    }

    /// A thing that was on its way out is gone from that account.
    pub(crate) fn settle(&mut self, port: u16) {
        self.ports[usize::from(port)].held -= 1;
        self.held -= 1;
    }

    /// A thing on its way out is in another account from now on: that port gets the room.
    pub(crate) fn transfer(&mut self, from: u16, to: u16) {
        self.ports[usize::from(from)].held -= 1;
        self.ports[usize::from(to)].held += 1;
    }

    /// Whether the port holds less than its share of that many.
    pub(crate) fn is_below(&self, port: u16, capacity: u32) -> bool {
        let account = &self.ports[usize::from(port)];
        account.held < self.share(account, capacity)
    }

    /// The port that holds most over its share of that many, of those that have something to take away.
    pub(crate) fn most_over(&self, capacity: u32) -> Option<u16> {
        let over = |account: &Account| account.held.saturating_sub(self.share(account, capacity));
        let ports = self.ports.iter().enumerate().filter(|(_, account)| !account.slots.is_empty());
        let most = ports.map(|(port, account)| (over(account), port)).max_by_key(|(over, _)| *over);
        most.filter(|(over, _)| *over > 0).map(|(_, port)| port as u16)
    }

    /// Who gives room to the port: nobody unless that one holds more than its share, and this one less.
    pub(crate) fn giver(&self, to: u16) -> Option<u16> {
        self.is_below(to, self.capacity).then(|| self.most_over(self.capacity)).flatten()
    }

    /// The slot of what the port is to lose: of some of its things the one with the least `worth`. All of
    /// them have their turn to be looked at.
    pub(crate) fn least<W: Ord>(&mut self, port: u16, worth: impl Fn(u32) -> W) -> Option<u32> {
        let Account { slots, hand, .. } = &mut self.ports[usize::from(port)];
        let looked_at = slots.len().min(LOOKED_AT);
        let from = if *hand < slots.len() { *hand } else { 0 };
        *hand = from + looked_at;
        let seen = slots[from..].iter().chain(&slots[..from]).take(looked_at);
        seen.copied().min_by_key(|&slot| worth(slot))
    }

    fn share(&self, account: &Account, capacity: u32) -> u32 {
        if account.entitled { (capacity / self.entitled.max(1)).max(1) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const CAPACITY: u32 = 12;
    const PORTS: u16 = 4;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take(u16),
        Return(u32),
        Leave(u32),
        Settle(usize),
        Entitle(u16, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..PORTS).prop_map(Step::Take),
            1 => (0u32..24).prop_map(Step::Return),
            1 => (0u32..24).prop_map(Step::Leave),
            1 => (0usize..4).prop_map(Step::Settle),
            1 => (0..PORTS, any::<bool>()).prop_map(|(port, entitled)| Step::Entitle(port, entitled)),
        ]
    }

    /// Who has what, without any order.
    #[derive(Default)]
    struct Oracle {
        slots: BTreeMap<u32, u16>,
        leaving: Vec<u16>,
        entitled: [bool; PORTS as usize],
    }

    impl Oracle {
        fn held(&self, port: u16) -> u32 {
            let all = self.slots.values().chain(&self.leaving);
            all.filter(|holder| **holder == port).count() as u32
        }

        fn share(&self, port: u16) -> u32 {
            let entitled = self.entitled.iter().filter(|entitled| **entitled).count() as u32;
            if self.entitled[usize::from(port)] { (CAPACITY / entitled).max(1) } else { 0 }
        }
    }

    proptest! {
        #[test]
        fn who_is_below_its_share_gets_room_and_nobody_falls_below_it(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let (mut shares, mut oracle) = (Shares::new(CAPACITY), Oracle::default());
            shares.adopt(PORTS.into());
            for step in steps {
                match step {
                    Step::Take(port) => {
                        if shares.is_full() {
                            let below = oracle.held(port) < oracle.share(port);
                            let giver = shares.giver(port);
                            let can = |giver: &u16| {
                                let slots = oracle.slots.values().any(|holder| holder == giver);
                                slots && oracle.held(*giver) > oracle.share(*giver)
                            };
                            prop_assert_eq!(giver.is_some(), below && (0..PORTS).any(|port| can(&port)));
                            let Some(giver) = giver else { continue };
                            let over = |port: u16| oracle.held(port).saturating_sub(oracle.share(port));
                            prop_assert!(can(&giver));
                            let most = (0..PORTS).filter(can).map(over).max();
                            prop_assert_eq!(most, Some(over(giver)));
                            let slot = shares.least(giver, |slot| slot).expect("it has some");
                            // There are never more than are looked at.
                            let least = oracle.slots.iter().find(|(_, holder)| **holder == giver);
                            prop_assert_eq!(least, Some((&slot, &giver)));
                            shares.leave(giver, slot);
                            shares.transfer(giver, port);
                            oracle.slots.remove(&slot);
                            oracle.leaving.push(port);
                        } else if let Some(slot) = (0..24).find(|slot| !oracle.slots.contains_key(slot)) {
                            shares.add(port, slot);
                            oracle.slots.insert(slot, port);
                        }
                    }
                    Step::Return(slot) => {
                        let port = oracle.slots.remove(&slot);
                        shares.remove(port.unwrap_or(0), slot);
                    }
                    Step::Leave(slot) => {
                        let port = oracle.slots.remove(&slot);
                        prop_assert_eq!(shares.leave(port.unwrap_or(0), slot), port.is_some());
                        oracle.leaving.extend(port);
                    }
                    Step::Settle(at) if at < oracle.leaving.len() => shares.settle(oracle.leaving.remove(at)),
                    Step::Settle(_) => {}
                    Step::Entitle(port, entitled) => {
                        shares.entitle(port, entitled);
                        oracle.entitled[usize::from(port)] = entitled;
                    }
                }
                for port in 0..PORTS {
                    prop_assert_eq!(shares.held_by(port), oracle.held(port));
                    let mut slots = shares.slots(port).to_vec();
                    slots.sort_unstable();
                    let of: Vec<u32> =
                        oracle.slots.iter().filter(|(_, holder)| **holder == port).map(|(slot, _)| *slot).collect();
                    prop_assert_eq!(slots, of);
                }
                prop_assert_eq!(shares.held(), (0..PORTS).map(|port| oracle.held(port)).sum::<u32>());
            }
        }

        #[test]
        fn a_full_cache_has_room_for_whoever_is_below_its_share(
            held in prop::collection::vec(0u32..8, 2..6),
        ) {
            let capacity = held.iter().sum::<u32>();
            let mut shares = Shares::new(capacity);
            shares.adopt(held.len());
            let mut slot = 0;
            for (port, &held) in held.iter().enumerate() {
                shares.entitle(port as u16, true);
                for _ in 0..held {
                    shares.add(port as u16, slot);
                    slot += 1;
                }
            }
            let share = capacity / held.len() as u32;
            for (port, &held) in held.iter().enumerate() {
                prop_assert!(held >= share || shares.giver(port as u16).is_some());
            }
        }
    }

    #[test]
    fn every_thing_has_its_turn_to_be_looked_at() {
        let mut shares = Shares::new(100);
        shares.adopt(1);
        for slot in 0..100 {
            shares.add(0, slot);
        }
        let seen = core::cell::RefCell::new([false; 100]);
        for _ in 0..100_usize.div_ceil(LOOKED_AT) {
            shares.least(0, |slot| seen.borrow_mut()[slot as usize] = true);
        }
        assert!(seen.into_inner().iter().all(|seen| *seen));
    }
}

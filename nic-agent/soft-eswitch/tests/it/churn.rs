//! Random rules come and go under random packets; after each step the switch and the model agree on
//! every packet, every counter and every refusal.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use nic_flow::extract::extract;
use nic_flow::{Action, ActionList, Field, FlowMask, MacAddr, Match, PortId};
use proptest::prelude::*;
use proptest::sample::Index;
use soft_eswitch::{CreateError, DestroyError, Forwarder, Profile, QueryError, SwitchRule, Unsent};

use crate::lab::{Frame, Outside, burst, encap, frame, ports, switch};
use crate::model::Model;

const MAX_RULES: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    Create(Index, Box<SwitchRule>),
    /// Creates a rule that is like one of those there, with other actions.
    CreateAgain(Index, Box<ActionList>),
    Destroy(Index),
    Flush(Index),
    QueryAndReset(Index),
    Forward(Index, Vec<Frame>, Vec<Option<Unsent>>),
    Represent(Index, Vec<Frame>, Vec<Option<Unsent>>),
}

fn port() -> impl Strategy<Value = PortId> {
    prop::sample::select(ports())
}

fn action() -> impl Strategy<Value = Action> {
    let mac = MacAddr::from_u64(0x0200_0000_0009);
    let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    prop_oneof![
        4 => port().prop_map(Action::Output),
        1 => (0u16..3).prop_map(Action::push_ctag),
        1 => prop::sample::select(vec![
            Action::PopVlan, Action::SetVlanVid(5), Action::SetEthDst(mac), Action::SetIpSrc(ip),
            Action::DecIpTtl, Action::SetL4Dst(53), Action::SetIpDscp(10), Action::SetVlanPcp(3),
            Action::SetIpEcn(3), Action::EncapVxlan(encap(7)), Action::DecapVxlan, Action::DecapVxlan,
        ]),
    ]
}

fn actions() -> impl Strategy<Value = ActionList> {
    prop::collection::vec(action(), 0..6).prop_map(|actions| actions.into_iter().collect())
}

/// A few fields of a frame that exists, so that rules are hit, overlap and repeat.
fn matches() -> impl Strategy<Value = Match> {
    const FIELDS: &[Field] = &[
        Field::InPort,
        Field::EthDst,
        Field::EthType,
        Field::VlanCount,
        Field::L3,
        Field::IpSrc,
        Field::IpDst,
        Field::L4,
        Field::L4Dst,
        Field::Tunnel,
        Field::Vni,
        Field::TunEthDst,
    ];
    let bits = prop_oneof![7 => Just(0), 2 => Just(u128::MAX), 1 => any::<u128>()];
    (port(), frame(), prop::collection::vec(bits, FIELDS.len())).prop_map(|(port, frame, bits)| {
        let mask =
            FIELDS.iter().zip(bits).fold(FlowMask::EMPTY, |mask, (&field, bits)| mask.with(field, bits));
        Match::new(extract(&frame, port), mask)
    })
}

/// The actions without the decapsulations of what is not known to be in a tunnel.
fn possible(matches: &Match, actions: &ActionList) -> ActionList {
    let matched = matches.mask().get(Field::Tunnel) == 3 && matches.key().get(Field::Tunnel) == 1;
    let mut tunnels = u32::from(matched);
    let mut keep = |action: &Action| {
        match action {
            Action::EncapVxlan(_) => tunnels += 1,
            Action::DecapVxlan if tunnels == 0 => return false,
            Action::DecapVxlan => tunnels -= 1,
            Action::SetL4Dst(_) => tunnels = 0,
            _ => {}
        }
        true
    };
    actions.iter().copied().filter(|action| keep(action)).collect()
}

fn rule() -> impl Strategy<Value = SwitchRule> {
    (0u32..3, matches(), actions(), any::<bool>()).prop_map(|(priority, matches, actions, count)| {
        SwitchRule { priority, matches, actions: possible(&matches, &actions), count }
    })
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    prop::collection::vec((0usize..80, frame()).prop_map(|(room, frame)| Frame::new(room, &frame)), 0..24)
}

fn faults() -> impl Strategy<Value = Vec<Option<Unsent>>> {
    let fault = prop::sample::select(vec![Unsent::Full, Unsent::NoBuffer, Unsent::Down]);
    let fault = prop_oneof![3 => Just(None), 1 => fault.prop_map(Some)];
    prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(fault, 0..40)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let step = prop_oneof![
        6 => (index(), rule()).prop_map(|(port, rule)| Step::Create(port, Box::new(rule))),
        1 => (index(), actions()).prop_map(|(like, actions)| Step::CreateAgain(like, Box::new(actions))),
        3 => index().prop_map(Step::Destroy),
        1 => index().prop_map(Step::Flush),
        1 => index().prop_map(Step::QueryAndReset),
        8 => (index(), frames(), faults()).prop_map(|(port, frames, faults)| Step::Forward(port, frames, faults)),
        1 => (index(), frames(), faults()).prop_map(|(port, frames, faults)| Step::Represent(port, frames, faults)),
    ];
    prop::collection::vec(step, 1..40)
}

/// The switch, its model and what both have sent.
struct Pair {
    forwarder: Forwarder,
    model: Model,
}

impl Pair {
    fn create(&mut self, owner: PortId, rule: SwitchRule) {
        let switch = self.forwarder.switch().clone();
        let expected = match (self.model.find(&rule), self.model.by_handle.len()) {
            (Some(other), _) => Some(CreateError::Exists(other)),
            (None, MAX_RULES) => Some(CreateError::Full { max_rules: MAX_RULES }),
            _ => None,
        };
        let valid = switch.validate(&rule);
        assert_eq!(valid.err(), expected.filter(|error| !matches!(error, CreateError::Full { .. })));
        match (switch.create(owner, rule.clone()), expected) {
            (Ok(handle), None) => {
                assert_eq!(handle.owner(), owner);
                self.model.insert(handle, rule);
            }
            (result, expected) => assert_eq!(result.err(), expected),
        }
    }

    fn run(&mut self, step: Step) {
        let switch = self.forwarder.switch().clone();
        let port = |index: Index| ports()[index.index(ports().len())];
        let handles: Vec<_> = self.model.by_handle.keys().copied().collect();
        let handle = |index: Index| (!handles.is_empty()).then(|| handles[index.index(handles.len())]);
        match step {
            Step::Create(owner, rule) => self.create(port(owner), *rule),
            Step::CreateAgain(like, actions) => {
                if let Some(handle) = handle(like) {
                    let rule = self.model.by_handle[&handle].0.clone();
                    let actions = possible(&rule.matches, &actions);
                    self.create(port(like), SwitchRule { actions, ..rule });
                }
            }
            Step::Destroy(index) => {
                if let Some(handle) = handle(index) {
                    let counts = self.model.by_handle[&handle].0.count;
                    let counted = self.model.remove(handle).filter(|_| counts).unwrap_or_default();
                    assert_eq!(switch.destroy(handle), Ok(counted));
                    assert_eq!(switch.destroy(handle), Err(DestroyError::NoRule));
                    assert_eq!(switch.query(handle), Err(QueryError::NoRule));
                }
            }
            Step::Flush(owner) => {
                let gone: Vec<_> = handles.iter().filter(|handle| handle.owner() == port(owner)).collect();
                assert_eq!(switch.flush(port(owner)), gone.len());
                for handle in gone {
                    self.model.remove(*handle);
                }
            }
            Step::QueryAndReset(index) => {
                if let Some(handle) = handle(index) {
                    let (rule, _, counters) = self.model.by_handle.get_mut(&handle).unwrap();
                    let counted = std::mem::take(counters);
                    let expected = if rule.count { Ok(counted) } else { Err(QueryError::NotCounted) };
                    assert_eq!(switch.query_and_reset(handle), expected);
                }
            }
            Step::Forward(index, frames, faults) => {
                let mut outside = Outside { faults, ..Outside::default() };
                let mut expected = outside.clone();
                let mut packets = burst(&frames);
                self.forwarder.forward(port(index), &mut packets, &mut outside).unwrap();
                assert!(packets.is_empty());
                for frame in frames {
                    self.model.forward(port(index), frame, &mut expected);
                }
                assert_eq!(outside, expected);
            }
            Step::Represent(index, frames, faults) => self.represent(port(index), &frames, faults),
        }
    }

    fn represent(&mut self, port: PortId, frames: &[Frame], faults: Vec<Option<Unsent>>) {
        let switch = self.forwarder.switch().clone();
        let before = switch.stats(port).unwrap();
        let mut outside = Outside { faults, ..Outside::default() };
        switch.send_by_representor(port, &mut burst(frames), &mut outside).unwrap();
        assert!(outside.sent.iter().all(|(out, _)| *out == port) && outside.missed.is_empty());
        let after = switch.stats(port).unwrap();
        assert_eq!(after.by_representor.packets - before.by_representor.packets, frames.len() as u64);
        assert_eq!(after.sent.packets - before.sent.packets, outside.sent.len() as u64);
        let drops = after.drops.iter().sum::<u64>() - before.drops.iter().sum::<u64>();
        assert_eq!(drops as usize, frames.len() - outside.sent.len());
        // The model takes these over: what it checks is that nothing else moved.
        self.model.stats.insert(port, after);
    }

    fn check(&self) {
        let switch = self.forwarder.switch();
        assert_eq!(switch.len(), self.model.by_handle.len());
        for (handle, (rule, _, counters)) in &self.model.by_handle {
            let expected = if rule.count { Ok(*counters) } else { Err(QueryError::NotCounted) };
            assert_eq!(switch.query(*handle), expected);
        }
        for (port, stats) in &self.model.stats {
            assert_eq!(switch.stats(*port).as_ref(), Ok(stats), "{port}");
        }
    }
}

fn agree(steps: Vec<Step>, cache_entries: usize) {
    let switch = Arc::new(switch(Profile::Full, MAX_RULES));
    let mut pair = Pair { forwarder: Forwarder::new(switch, cache_entries), model: Model::new() };
    for step in steps {
        pair.run(step);
        pair.check();
    }
}

proptest! {
    #[test]
    fn the_switch_does_what_the_model_does(steps in steps()) {
        agree(steps, 1024);
    }

    #[test]
    fn a_cache_of_two_entries_changes_nothing(steps in steps()) {
        agree(steps, 2);
    }
}

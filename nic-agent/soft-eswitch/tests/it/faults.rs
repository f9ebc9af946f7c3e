//! An unreliable switch: each fault by hand, all together against a naive list of rules, and the same
//! again from the same seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nic_flow::extract::extract;
use nic_flow::{Action, Counters, Field, FlowMask, Match};
use proptest::prelude::*;
use proptest::sample::Index;
use soft_eswitch::{
    CreateError, DestroyError, Failure, FaultHits, Faults, Forwarder, NoPort, Profile, QueryError,
    RuleCounts, RuleHandle, RuleState, Switch, SwitchRule,
};

use crate::lab::{Frame, Outside, burst, switch, udp, vf};

const MAX_RULES: usize = 1000;

/// Packets to this UDP port go to the other VF.
fn rule(port: u16, priority: u32) -> SwitchRule {
    SwitchRule {
        priority,
        matches: Match::new(extract(&udp(1, port), vf(0)), FlowMask::exact(Field::L4Dst)),
        actions: [Action::Output(vf(1))].into_iter().collect(),
        count: true,
    }
}

fn unreliable(faults: &str) -> Arc<Switch> {
    let switch = switch(Profile::Full, MAX_RULES);
    switch.set_faults(faults.parse().unwrap()).unwrap();
    Arc::new(switch)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// True if a rule takes the packet.
fn hits(forwarder: &mut Forwarder, port: u16) -> bool {
    let mut outside = Outside::default();
    forwarder.forward(vf(0), &mut burst(&[Frame::new(0, &udp(1, port))]), &mut outside).unwrap();
    assert_eq!(outside.sent.len() + outside.missed.len(), 1);
    !outside.sent.is_empty()
}

fn packets(n: u64) -> Counters {
    Counters { packets: n, bytes: n * udp(1, 1).len() as u64 }
}

#[test]
fn calls_fail_as_often_as_they_are_told_to_and_change_nothing() {
    let switch = unreliable("create:enospc:0.1+create:eagain:0.2+destroy:eio:0.5+query:enomem:0.25+seed:3");
    let mut refused: BTreeMap<&str, u32> = BTreeMap::new();
    for n in 0..4000u32 {
        let len = switch.len();
        let handle = match switch.create(vf(0), rule(1, 0)) {
            Ok(handle) => handle,
            Err(CreateError::Failed(failure)) => {
                *refused.entry(failure.name()).or_default() += 1;
                assert_eq!(switch.len(), len, "{n}");
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        match switch.query(handle) {
            Ok(counters) => assert_eq!(counters, Counters::default()),
            Err(error) => assert_eq!(error, QueryError::Failed(Failure::NoMemory)),
        }
        while let Err(error) = switch.destroy(handle) {
            assert_eq!(error, DestroyError::Failed(Failure::Io));
            assert_eq!(switch.rule_state(handle), Some(RuleState::InForce));
        }
    }
    let often = |n: u64, expected: u64| n.abs_diff(expected) < expected / 5;
    assert!(often(refused["enospc"].into(), 400) && often(refused["eagain"].into(), 800), "{refused:?}");
    let FaultHits { create, destroy, query, .. } = switch.fault_hits();
    assert_eq!(create[..2], [u64::from(refused["enospc"]), u64::from(refused["eagain"])]);
    assert!(often(destroy[2], 2800) && often(query[3], 700), "{destroy:?} {query:?}");
}

#[test]
fn rules_that_lag_come_into_force_within_their_time_and_out_of_order() {
    let switch = unreliable("lag:50+seed:1");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let handles: Vec<_> = (0..20).map(|port| switch.create(vf(0), rule(port, 0)).unwrap()).collect();
    assert_eq!(switch.rule_counts(), RuleCounts { rules: 20, waiting: 20, ..RuleCounts::default() });
    assert_eq!(switch.create(vf(0), rule(7, 0)), Err(CreateError::Exists(handles[7])));
    let mut overtaken = false;
    for now in 0..=50 {
        switch.advance(ms(now));
        let in_force = |handle| switch.rule_state(handle) == Some(RuleState::InForce);
        let states: Vec<bool> = handles.iter().map(|handle| in_force(*handle)).collect();
        overtaken |= states.windows(2).any(|pair| pair == [false, true]);
        for (port, in_force) in (0..20).zip(states) {
            assert_eq!(hits(&mut forwarder, port), in_force, "port {port} at {now} ms");
        }
    }
    assert!(overtaken);
    assert_eq!(switch.rule_counts(), RuleCounts { rules: 20, ..RuleCounts::default() });
    assert_eq!((switch.due(), switch.fault_hits().lag), (None, 20));
}

#[test]
fn a_destroyed_rule_goes_on_matching_in_front_of_the_one_that_replaces_it() {
    let switch = unreliable("destroy_lag:40");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let old = switch.create(vf(0), rule(1, 0)).unwrap();
    switch.destroy(old).unwrap();
    assert_eq!(switch.destroy(old), Err(DestroyError::NoRule));
    assert_eq!(switch.query(old), Err(QueryError::NoRule));
    let new = switch.create(vf(0), rule(1, 0)).unwrap();
    assert!(hits(&mut forwarder, 1));
    assert_eq!(switch.query(new), Ok(Counters::default()), "the old rule took the packet");
    assert_eq!(switch.rule_counts(), RuleCounts { rules: 1, leaving: 1, ..RuleCounts::default() });
    assert!(switch.due().unwrap() <= ms(40));
    switch.advance(ms(40));
    assert!(hits(&mut forwarder, 1));
    assert_eq!(switch.query(new), Ok(packets(1)));
    // A flush leaves nothing behind, not even what lingers.
    switch.destroy(new).unwrap();
    assert_eq!((switch.rule_state(new), switch.flush(vf(0))), (Some(RuleState::Leaving), 0));
    assert!(!hits(&mut forwarder, 1));
}

#[test]
fn a_lost_rule_is_a_miss_whose_handle_and_counters_stay() {
    let switch = unreliable("lose:1:100");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let handle = switch.create(vf(0), rule(1, 0)).unwrap();
    assert!(hits(&mut forwarder, 1));
    switch.advance(ms(100));
    assert!(!hits(&mut forwarder, 1));
    assert_eq!(switch.rule_state(handle), Some(RuleState::Lost));
    assert_eq!(switch.query(handle), Ok(packets(1)));
    assert_eq!(switch.create(vf(0), rule(1, 0)), Err(CreateError::Exists(handle)));
    assert_eq!(switch.fault_hits().to_string(), "lose:1");
    // It is no better in a reliable switch, until it is destroyed.
    switch.set_faults(Faults::default()).unwrap();
    assert!(!hits(&mut forwarder, 1));
    assert_eq!(switch.destroy(handle), Ok(packets(1)));
    switch.create(vf(0), rule(1, 0)).unwrap();
    assert!(hits(&mut forwarder, 1));
}

#[test]
fn rules_are_lost_on_command() {
    let switch = unreliable("none");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    for port in 0..10 {
        switch.create(vf(0), rule(port, 0)).unwrap();
    }
    assert_eq!((switch.lose(0), switch.lose(3)), (0, 3));
    let missed = (0..10).filter(|&port| !hits(&mut forwarder, port)).count();
    assert_eq!((missed, switch.rule_counts().lost), (3, 3));
    assert_eq!((switch.lose(usize::MAX), switch.lose(usize::MAX)), (7, 0));
    assert!((0..10).all(|port| !hits(&mut forwarder, port)));
    assert_eq!((switch.flush(vf(0)), switch.rule_counts()), (10, RuleCounts::default()));
}

#[test]
fn counters_freeze_and_thaw_and_no_packet_is_lost() {
    let switch = unreliable("none");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let handle = switch.create(vf(0), rule(1, 0)).unwrap();
    assert!(hits(&mut forwarder, 1));
    switch.set_faults("counters:frozen".parse().unwrap()).unwrap();
    let young = switch.create(vf(0), rule(2, 0)).unwrap();
    assert!(hits(&mut forwarder, 1) && hits(&mut forwarder, 2));
    switch.advance(ms(5000));
    assert_eq!((switch.query(handle), switch.query(young)), (Ok(packets(1)), Ok(Counters::default())));
    // Other faults beside it change nothing of what is shown.
    switch.set_faults("counters:frozen+lag:5".parse().unwrap()).unwrap();
    assert_eq!(switch.query_and_reset(handle), Ok(packets(1)));
    assert_eq!(switch.query(handle), Ok(Counters::default()));
    assert_eq!(switch.fault_hits().counters, 2, "each reading hid a packet");
    switch.set_faults(Faults::default()).unwrap();
    assert_eq!((switch.query(handle), switch.query(young)), (Ok(packets(1)), Ok(packets(1))));
}

#[test]
fn late_counters_are_at_most_so_old() {
    let switch = unreliable("counters:late:100");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let handle = switch.create(vf(0), rule(1, 0)).unwrap();
    let mut shown = Vec::new();
    for now in (0..=350).step_by(50) {
        switch.advance(ms(now));
        shown.push(switch.query(handle).unwrap().packets);
        assert!(hits(&mut forwarder, 1));
    }
    assert_eq!(shown, [0, 0, 2, 2, 4, 4, 6, 6]);
    assert_eq!(switch.due(), Some(ms(400)));
    assert_eq!(switch.query_and_reset(handle), Ok(packets(6)));
    switch.set_faults(Faults::default()).unwrap();
    assert_eq!((switch.query(handle), switch.due()), (Ok(packets(2)), None));
}

#[test]
fn the_tables_are_as_small_as_they_are_told_to_be() {
    let switch = unreliable("max_rules:3+max_counters:1");
    let silent = |port| SwitchRule { count: false, ..rule(port, 0) };
    let counting = switch.create(vf(0), rule(1, 0)).unwrap();
    assert_eq!(switch.create(vf(0), rule(2, 0)), Err(CreateError::NoCounter { max_counters: 1 }));
    for port in [2, 3] {
        switch.create(vf(0), silent(port)).unwrap();
    }
    assert_eq!(switch.create(vf(0), silent(4)), Err(CreateError::Full { max_rules: 3 }));
    let hits = switch.fault_hits();
    assert_eq!((hits.max_rules, hits.max_counters), (1, 1));
    switch.destroy(counting).unwrap();
    switch.create(vf(0), rule(4, 0)).unwrap();
    // The switch never holds more than it was made for.
    switch.set_faults("max_rules:4000".parse().unwrap()).unwrap();
    for port in 5..=1001 {
        switch.create(vf(0), rule(port, 0)).unwrap();
    }
    let full = Err(CreateError::Full { max_rules: MAX_RULES });
    assert_eq!((switch.create(vf(0), rule(2000, 0)), switch.fault_hits().max_rules), (full, 0));
}

#[test]
fn other_faults_settle_what_the_ones_before_began() {
    let switch = unreliable("lag:60000+destroy_lag:60000+lose:1:3600000");
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    switch.create(vf(0), rule(1, 0)).unwrap();
    switch.set_faults("destroy_lag:60000".parse().unwrap()).unwrap();
    assert!(hits(&mut forwarder, 1));
    let gone = switch.create(vf(0), rule(2, 0)).unwrap();
    switch.destroy(gone).unwrap();
    assert!(hits(&mut forwarder, 2));
    assert_eq!(switch.set_faults("stall:pf0vf7".parse().unwrap()), Err(NoPort(vf(7))));
    assert!(hits(&mut forwarder, 2), "refused faults change nothing");
    switch.set_faults("stall:pf0vf1".parse().unwrap()).unwrap();
    assert!(!hits(&mut forwarder, 2) && !switch.is_reliable());
    switch.set_faults(Faults::default()).unwrap();
    switch.advance(Duration::MAX);
    assert!(hits(&mut forwarder, 1) && switch.is_reliable());
    assert_eq!(switch.due(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Create(u16, u32, bool),
    Destroy(Index),
    Flush,
    Query(Index, bool),
    Forward(Vec<u16>),
    Advance(u64),
    Lose(usize),
    Faults(Faults),
}

const PORTS: u16 = 6;

fn faults() -> impl Strategy<Value = Faults> {
    let maybe = |word: &'static str| prop_oneof![2 => Just(""), 1 => Just(word)];
    let words = (
        maybe("create:eio:0.2"),
        maybe("destroy:eagain:0.3+query:eio:0.3"),
        maybe("lag:30"),
        maybe("destroy_lag:30"),
        maybe("lose:0.5:20"),
        maybe("counters:late:20"),
        maybe("max_rules:5+max_counters:3"),
        any::<u64>(),
    );
    words.prop_map(|(a, b, c, d, e, f, g, seed)| {
        let words = [a, b, c, d, e, f, g].into_iter().filter(|word| !word.is_empty());
        let text: String = words.flat_map(|word| [word, "+"]).collect();
        format!("{text}seed:{seed}").parse().unwrap()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PORTS, 0u32..2, any::<bool>()).prop_map(|(port, prio, count)| Step::Create(port, prio, count)),
        4 => any::<Index>().prop_map(Step::Destroy),
        1 => Just(Step::Flush),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(index, reset)| Step::Query(index, reset)),
        6 => prop::collection::vec(0..PORTS, 0..12).prop_map(Step::Forward),
        4 => (0u64..25).prop_map(Step::Advance),
        1 => (0usize..3).prop_map(Step::Lose),
        1 => prop_oneof![1 => Just(Faults::default()), 4 => faults()].prop_map(Step::Faults),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a test knows of a rule.
#[derive(Debug)]
struct Known {
    rule: SwitchRule,
    /// When it was created, or destroyed, in milliseconds.
    since: u64,
    exists: bool,
    state: RuleState,
    counted: Counters,
}

/// A switch, and a list of all its rules.
struct Witness {
    forwarder: Forwarder,
    faults: Faults,
    now: u64,
    /// In the order of their creation, with those that still match though they are destroyed.
    rules: Vec<(RuleHandle, Known)>,
    told: Vec<String>,
}

impl Witness {
    fn new() -> Witness {
        let forwarder = Forwarder::new(unreliable("none"), 16);
        Witness { forwarder, faults: Faults::default(), now: 0, rules: Vec::new(), told: Vec::new() }
    }

    fn pick(&self, index: Index) -> Option<usize> {
        let existing: Vec<_> = (0..self.rules.len()).filter(|&n| self.rules[n].1.exists).collect();
        (!existing.is_empty()).then(|| existing[index.index(existing.len())])
    }

    fn run(&mut self, step: Step) {
        let switch = Arc::clone(self.forwarder.switch());
        match step {
            Step::Create(port, priority, count) => {
                self.create(&switch, SwitchRule { count, ..rule(port, priority) });
            }
            Step::Destroy(index) => {
                let Some(n) = self.pick(index) else { return };
                let (handle, known) = &mut self.rules[n];
                match switch.destroy(*handle) {
                    Err(error) => assert_eq!(error, DestroyError::Failed(Failure::Again)),
                    Ok(counted) => {
                        assert_eq!(
                            counted,
                            if known.rule.count { known.counted } else { Counters::default() }
                        );
                        (known.exists, known.since) = (false, self.now);
                    }
                }
            }
            Step::Flush => {
                let existing = self.rules.iter().filter(|(_, known)| known.exists).count();
                assert_eq!(switch.flush(vf(0)), existing);
                self.rules.clear();
            }
            Step::Query(index, reset) => {
                let Some(n) = self.pick(index) else { return };
                let (handle, known) = &mut self.rules[n];
                let read = if reset { switch.query_and_reset(*handle) } else { switch.query(*handle) };
                match read {
                    Err(QueryError::NotCounted) => assert!(!known.rule.count),
                    Err(error) => assert_eq!(error, QueryError::Failed(Failure::Io)),
                    Ok(read) => {
                        let late = self.faults.to_string().contains("late");
                        assert!(read == known.counted || late && read.packets <= known.counted.packets);
                        if reset {
                            known.counted.packets -= read.packets;
                            known.counted.bytes -= read.bytes;
                        }
                    }
                }
            }
            Step::Forward(ports) => {
                for port in ports {
                    self.forward(port);
                }
            }
            Step::Advance(by) => {
                self.now += by;
                switch.advance(ms(self.now));
            }
            Step::Lose(count) => self.lose(&switch, count),
            Step::Faults(faults) => {
                switch.set_faults(faults.clone()).unwrap();
                assert!(self.rules.iter().all(|(handle, known)| {
                    let state = switch.rule_state(*handle);
                    if known.exists { state != Some(RuleState::Waiting) } else { state.is_none() }
                }));
                self.faults = faults;
            }
        }
    }

    fn create(&mut self, switch: &Switch, rule: SwitchRule) {
        let same = |known: &Known| known.exists && known.rule.priority == rule.priority;
        let same = |known: &Known| same(known) && known.rule.matches == rule.matches;
        let twin = self.rules.iter().find(|(_, known)| same(known)).map(|(handle, _)| *handle);
        let existing = self.rules.iter().filter(|(_, known)| known.exists);
        let counting = existing.clone().filter(|(_, known)| known.rule.count).count();
        let full = |limit: Option<u32>, n: usize| limit.is_some_and(|limit| n >= limit as usize);
        let expected = match twin {
            Some(other) => Err(CreateError::Exists(other)),
            None if full(self.faults.max_rules, existing.count()) => Err(CreateError::Full { max_rules: 5 }),
            None if rule.count && full(self.faults.max_counters, counting) => {
                Err(CreateError::NoCounter { max_counters: 3 })
            }
            None => Ok(()),
        };
        match switch.create(vf(0), rule.clone()) {
            Ok(handle) => {
                assert_eq!(expected, Ok(()));
                let state = if self.faults.lag > 0 { RuleState::Waiting } else { RuleState::InForce };
                let known =
                    Known { rule, since: self.now, exists: true, state, counted: Counters::default() };
                self.rules.push((handle, known));
            }
            Err(CreateError::Failed(failure)) => {
                assert_eq!((expected, failure), (Ok(()), Failure::Io));
                assert!(!self.faults.create.is_none());
            }
            Err(error) => assert_eq!(Err(error), expected),
        }
    }

    fn lose(&mut self, switch: &Switch, count: usize) {
        let before = switch.rule_counts();
        let lost = switch.lose(count);
        assert_eq!(lost, count.min(before.rules - before.lost));
        assert_eq!(switch.rule_counts().lost, before.lost + lost);
        // Which of them is the switch's to choose.
        for (handle, known) in &mut self.rules {
            if switch.rule_state(*handle) == Some(RuleState::Lost) {
                known.state = RuleState::Lost;
            }
        }
    }

    /// A packet meets the rule of the lowest priority number, then the oldest, of those that match now.
    fn forward(&mut self, port: u16) {
        let wanted = rule(port, 0).matches;
        let met = |known: &&mut (RuleHandle, Known)| {
            known.1.rule.matches == wanted && matches!(known.1.state, RuleState::InForce | RuleState::Leaving)
        };
        let expected = self.rules.iter_mut().filter(met).min_by_key(|(_, known)| known.rule.priority);
        assert_eq!(hits(&mut self.forwarder, port), expected.is_some());
        if let Some((_, known)) = expected.filter(|(_, known)| known.exists) {
            known.counted += packets(1);
        }
    }

    /// Every rule is in a state that it can have come to by now, and is what was counted.
    fn check(&mut self) {
        let switch = Arc::clone(self.forwarder.switch());
        for (handle, known) in &mut self.rules {
            let Some(state) = switch.rule_state(*handle) else {
                assert!(!known.exists);
                continue;
            };
            let age = self.now - known.since;
            match state {
                RuleState::Waiting => {
                    assert!(known.exists && known.state == state && age < self.faults.lag.into());
                }
                RuleState::InForce => assert!(known.exists && known.state != RuleState::Lost),
                RuleState::Lost => assert!(known.exists),
                RuleState::Leaving => {
                    assert!(!known.exists && age < self.faults.destroy_lag.into());
                    assert!(matches!(known.state, RuleState::InForce | RuleState::Leaving));
                }
            }
            known.state = state;
        }
        self.rules.retain(|(handle, _)| switch.rule_state(*handle).is_some());
        let of = |state| self.rules.iter().filter(|(_, known)| known.state == state).count();
        let (waiting, lost, leaving) = (of(RuleState::Waiting), of(RuleState::Lost), of(RuleState::Leaving));
        let rules = self.rules.len() - leaving;
        assert_eq!(switch.rule_counts(), RuleCounts { rules, waiting, lost, leaving });
        assert_eq!(switch.len(), rules);
        assert!(switch.due().is_none_or(|due| due > ms(self.now)));
        self.told.push(format!("{:?} {} {:?}", switch.rule_counts(), switch.fault_hits(), switch.due()));
    }
}

fn witness(steps: Vec<Step>) -> Vec<String> {
    let mut witness = Witness::new();
    for step in steps {
        witness.run(step);
        witness.check();
    }
    witness.told
}

proptest! {
    #[test]
    fn packets_meet_the_rules_that_are_in_force_or_linger_and_no_others(steps in steps()) {
        witness(steps);
    }

    #[test]
    fn the_same_seed_and_the_same_calls_meet_the_same_faults(steps in steps()) {
        prop_assert_eq!(witness(steps.clone()), witness(steps));
    }
}

#[test]
fn another_seed_meets_other_faults_and_other_calls_do_not_disturb() {
    let creations = |faults: &str, queries: bool| {
        let switch = unreliable(faults);
        let results = (0..64).map(|port| {
            let created = switch.create(vf(0), rule(port, 0));
            if let (Ok(handle), true) = (created, queries) {
                let _ = switch.query(handle);
            }
            created.is_ok()
        });
        results.collect::<Vec<_>>()
    };
    let first = creations("create:eio:0.5+query:eio:0.5+seed:1", false);
    assert_eq!(first, creations("create:eio:0.5+query:eio:0.5+seed:1", true));
    assert_eq!(first, creations("create:eio:0.5+lag:50+seed:1", false));
    assert_ne!(first, creations("create:eio:0.5+seed:2", false));
}

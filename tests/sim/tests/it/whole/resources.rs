//! What clients ask of a store: few ids and values, so that transactions meet.

use nic_flow::PortId;
use nic_model::{
    Apply, Desired, FlowRuleSpec, Kind, Operation, PortFields, PortSpec, Resource, Spec, State, Time,
    Transaction,
};
use sim::random::Random;
use sim::scenario::PORTS;

/// The ids of ports, in the order of [`PORTS`]: the last one never has a device.
const PORT_IDS: [&str; 6] = ["p0", "p1", "a", "b", "c", "x"];
const RULE_IDS: [&str; 7] = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"];
const MACS: [&str; 3] = ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:01:01"];
const MATCHES: [&str; 16] = [
    "",
    "",
    "ip,",
    "ip,nw_src=10.10.1.0/24,",
    "ip,nw_dst=10.10.0.0/16,",
    "ip,nw_dst=10.10.1.1,",
    "ip,nw_ttl=1,",
    "ipv6,ipv6_dst=2001:db8:0:1::/64,",
    "tcp,",
    "tcp,tp_dst=80,",
    "udp,tp_dst=53,",
    "arp,",
    "dl_src=02:00:00:00:00:01,",
    "dl_dst=02:00:00:00:00:02,",
    "dl_vlan=100,",
    "ip,nw_src=10.10.1.1,nw_dst=10.11.1.1,",
];
const REWRITES: [&str; 8] = [
    "",
    "",
    "",
    "dec_ttl,",
    "mod_dl_dst:02:00:00:00:01:01,",
    "strip_vlan,",
    "push_vlan:0x8100,mod_vlan_vid:7,",
    "mod_nw_dst:10.10.2.1,",
];

fn at(time: u64, operation: Operation) -> Transaction {
    Transaction { time: Time(time), operation }
}

fn desired(id: &str, spec: Spec) -> Desired {
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
}

fn port(random: &mut Random, index: usize) -> Desired {
    let device = PORTS[index].to_string();
    let anti_spoof = random.chance(15);
    let macs: Vec<String> = MACS.iter().filter(|_| random.chance(70)).map(|&mac| mac.to_owned()).collect();
    let anti_spoof = anti_spoof && !macs.is_empty();
    let enabled = random.chance(92);
    let fields =
        PortFields { device: &device, enabled, mac_addresses: &macs, anti_spoof, ..PortFields::default() };
    desired(PORT_IDS[index], Spec::Port(PortSpec::parse(&fields).expect("a valid port")))
}

fn rule(random: &mut Random, id: &str) -> Desired {
    let from =
        if random.chance(70) { format!("in_port={},", random.pick(&PORT_IDS[..5])) } else { String::new() };
    let outputs = match random.below(8) {
        0 => "drop".to_owned(),
        1 | 2 => format!("output:{},output:{}", random.pick(&PORT_IDS), random.pick(&PORT_IDS)),
        _ => format!("{}output:{}", random.pick(&REWRITES), random.pick(&PORT_IDS)),
    };
    let text = format!("{from}{}actions={outputs}", random.pick(&MATCHES));
    let priority = random.below(5) as u32;
    // Some rewrites need more of the match than this one says; such a rule just sends.
    let spec = FlowRuleSpec::parse(&text, Some(priority)).unwrap_or_else(|_| {
        FlowRuleSpec::parse(&format!("{from}actions={}", random.pick(&PORT_IDS)), Some(priority))
            .expect("a valid flow")
    });
    desired(id, Spec::FlowRule(spec))
}

/// One resource, or a few.
fn some(random: &mut Random) -> Desired {
    if random.chance(25) {
        let index = random.below(PORT_IDS.len() as u64) as usize;
        port(random, index)
    } else {
        let id = random.pick(&RULE_IDS);
        rule(random, id)
    }
}

fn apply(resources: Vec<Desired>, prune: bool) -> Operation {
    let set = "all".parse().expect("a valid set");
    Operation::Apply(Apply { set, resources, prune, take_over: true })
}

/// All ports and some rules.
pub(crate) fn first(random: &mut Random) -> Transaction {
    let mut resources: Vec<Desired> = (0..PORT_IDS.len()).map(|index| port(random, index)).collect();
    for id in RULE_IDS {
        if random.chance(70) {
            resources.push(rule(random, id));
        }
    }
    at(0, apply(resources, false))
}

/// Any change; some are refused.
pub(crate) fn any(random: &mut Random, state: &State, time: u64) -> Transaction {
    let operation = match random.below(10) {
        0 => {
            let id = random.pick(&RULE_IDS).parse().expect("a valid id");
            Operation::Delete { name: Kind::FlowRule.name(id), etag: None }
        }
        1 | 2 => {
            let mut resources: Vec<Desired> = Vec::new();
            for _ in 0..=random.below(4) {
                let one = some(random);
                if resources.iter().all(|other| other.name() != one.name()) {
                    resources.push(one);
                }
            }
            apply(resources, false)
        }
        _ => {
            let one = some(random);
            if state.contains(&one.name()) { Operation::Update(one) } else { Operation::Create(one) }
        }
    };
    at(time, operation)
}

/// What undoes a transaction about one resource, by the state before it.
pub(crate) fn undo(transaction: &Transaction, before: &State) -> Option<Transaction> {
    let name = match &transaction.operation {
        Operation::Create(desired) | Operation::Update(desired) => desired.name(),
        Operation::Delete { name, .. } => name.clone(),
        Operation::Apply(_) => return None,
    };
    let spec = match before.get(&name) {
        Some(Resource::Port(port)) => Spec::Port(port.spec.clone()),
        Some(Resource::FlowRule(rule)) => Spec::FlowRule(rule.spec.clone()),
        _ => return Some(at(0, Operation::Delete { name, etag: None })),
    };
    let desired = Desired { id: name.id, spec, etag: None };
    let deleted = matches!(transaction.operation, Operation::Delete { .. });
    Some(at(0, if deleted { Operation::Create(desired) } else { Operation::Update(desired) }))
}

/// What deletes all that there is, what refers to other things first.
pub(crate) fn none(state: &State) -> Vec<Transaction> {
    let of = |kind: Kind| {
        let names = state.resources().map(Resource::name).filter(move |name| name.kind == kind);
        names.map(|name| at(0, Operation::Delete { name, etag: None }))
    };
    of(Kind::FlowRule).chain(of(Kind::Port)).collect()
}

/// The devices of every card.
pub(crate) const DEVICES: &[PortId] = PORTS.split_at(5).0;

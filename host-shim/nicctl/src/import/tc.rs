//! `tc` lines: flower filters of a switch's representors, with and without tunnels, and the lines around
//! them that make VFs and VXLAN devices.
//!
//! A filter that puts frames into a tunnel, or takes them out of one, becomes what it is for: a bridge with
//! the stations that the filters name, each at its place, and nothing learned. A filter without a tunnel
//! becomes a flow rule.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ImportError;
use super::resources::{Place, Resources};
use super::words::Command;

/// A VXLAN device of the host.
#[derive(Debug, Clone)]
struct Vxlan {
    vni: Option<u32>,
    uplink: String,
}

/// A flower filter as it stands in its line.
#[derive(Debug, Default)]
struct Filter {
    device: String,
    protocol: Option<String>,
    prio: Option<u16>,
    keys: BTreeMap<String, String>,
    /// `tunnel_key set`.
    set: Option<BTreeMap<String, String>>,
    /// `tunnel_key unset`.
    unset: bool,
    /// Where `mirred` sends it; none if it is dropped.
    redirect: Option<String>,
    drops: bool,
}

const KEYS: &[&str] = &[
    "dst_mac",
    "src_mac",
    "dst_ip",
    "src_ip",
    "ip_proto",
    "dst_port",
    "src_port",
    "vlan_id",
    "enc_src_ip",
    "enc_dst_ip",
    "enc_dst_port",
    "enc_key_id",
];

pub(super) fn translate(commands: &[Command], resources: &mut Resources<'_>) -> Result<(), ImportError> {
    let mut tunnels = BTreeMap::new();
    let mut filters = Vec::new();
    // Filters may stand in front of the lines that say what their devices are.
    for command in commands {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["tc", "filter", "add", rest @ ..] => filters.push((command.line, filter(rest, command.line)?)),
            ["tc", "qdisc", "add", "dev", _, "ingress" | "clsact"] => {
                resources.note("tc qdisc add has no equivalent: every port has its pipeline");
            }
            ["tc", _, word, ..] => return Err(unknown(command.line, word)),
            ["ip", rest @ ..] => ip(rest, command.line, resources, &mut tunnels)?,
            ["echo", _, ">", path] if path.ends_with("/sriov_numvfs") => {
                resources.note("sriov_numvfs has no equivalent: VFs are made on the host");
            }
            ["devlink", "dev", "eswitch", "set", _, "mode", "switchdev"] => {
                resources.note("devlink eswitch mode switchdev has no equivalent: the card is in it");
            }
            ["ethtool", "--features" | "-K", _, "hw-tc-offload", "on"] => {
                resources.note("ethtool hw-tc-offload on has no equivalent: flows are always offloaded");
            }
            [other, ..] => return Err(unknown(command.line, other)),
            [] => {}
        }
    }
    for (line, filter) in filters {
        if let Some(set) = &filter.set {
            encapsulates(line, &filter, set, &tunnels, resources)?;
        } else if filter.unset {
            decapsulates(line, &filter, &tunnels, resources)?;
        } else {
            forwards(line, &filter, resources)?;
        }
    }
    Ok(())
}

fn unknown(line: usize, word: &str) -> ImportError {
    ImportError::Word { line, word: word.to_owned() }
}

fn value<T: std::str::FromStr>(line: usize, word: &str, expected: &'static str) -> Result<T, ImportError> {
    word.parse().map_err(|_| ImportError::Value { line, word: word.to_owned(), expected })
}

/// The device that an interface's name tells: `enp6s0f1` is the uplink of function 1, `enp6s0f1_0` and
/// `enp6s0f1npf1vf0` its VF 0.
fn guess(name: &str) -> Option<String> {
    let (front, vf) = match name.rsplit_once('_') {
        Some((front, vf)) => (front, Some(vf.trim_start_matches("pf0vf").parse::<u16>().ok()?)),
        None => (name, None),
    };
    let (_, function) = front.rsplit_once('f')?;
    let function: u8 = function.parse().ok().filter(|function| *function < 8)?;
    Some(vf.map_or(format!("p{function}"), |vf| format!("pf{function}vf{vf}")))
}

fn ip(
    words: &[&str],
    line: usize,
    resources: &mut Resources<'_>,
    tunnels: &mut BTreeMap<String, Vxlan>,
) -> Result<(), ImportError> {
    match words {
        ["link", "set", pf, "vf", vf, "mac", mac] => {
            let vf: u16 = value(line, vf, "the number of a VF")?;
            let name = format!("{pf}_{vf}");
            let port = resources.port(&name, guess(&name), line)?;
            resources.source(&port, mac, false, line)
        }
        ["link", "set", "dev", rest @ ..] => ip(&[&["link", "set"], rest].concat(), line, resources, tunnels),
        ["link", "set", _, "up"] => Ok(()),
        ["link", "add", "name", rest @ ..] => {
            ip(&[&["link", "add"], rest].concat(), line, resources, tunnels)
        }
        ["link", "add", name, "type", "vxlan", options @ ..] => {
            tunnels.insert((*name).to_owned(), vxlan(options, line)?);
            Ok(())
        }
        ["addr" | "address", "add", address, "dev", _] => {
            let (address, length) = address.split_once('/').unwrap_or((address, ""));
            let address: IpAddr = value(line, address, "an IP address")?;
            let full = if address.is_ipv4() { 32 } else { 128 };
            let length =
                if length.is_empty() { full } else { value(line, length, "the length of a prefix")? };
            resources.prefix(address, length);
            Ok(())
        }
        [.., word] => Err(unknown(line, word)),
        [] => Err(ImportError::Missing { line, what: "a command" }),
    }
}

fn vxlan(options: &[&str], line: usize) -> Result<Vxlan, ImportError> {
    let (mut vni, mut uplink) = (None, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut next = |what| options.next().ok_or(ImportError::Missing { line, what });
        match *option {
            "id" => vni = Some(value(line, next("the VNI")?, "a VNI")?),
            "dev" => uplink = Some((*next("the uplink")?).to_owned()),
            "dstport" => port_4789(line, next("the port")?)?,
            // The filters say it again for each frame.
            "remote" | "local" => {
                let _: IpAddr = value(line, next("the address")?, "an IP address")?;
            }
            "external" => {}
            other => return Err(unknown(line, other)),
        }
    }
    let uplink = uplink.ok_or(ImportError::Missing { line, what: "dev UPLINK" })?;
    Ok(Vxlan { vni, uplink })
}

fn port_4789(line: usize, word: &str) -> Result<(), ImportError> {
    if word == "4789" {
        return Ok(());
    }
    Err(ImportError::Value { line, word: word.to_owned(), expected: "4789, the only UDP port of VXLAN here" })
}

fn filter(words: &[&str], line: usize) -> Result<Filter, ImportError> {
    let mut filter = Filter::default();
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        let mut next = |what| words.next().ok_or(ImportError::Missing { line, what });
        match word {
            "dev" => filter.device = next("the device")?.to_owned(),
            "protocol" => filter.protocol = Some(next("the protocol")?.to_owned()),
            "parent" => {
                let parent = next("the parent")?;
                if parent != "ffff:" {
                    return Err(unknown(line, parent));
                }
            }
            "ingress" | "flower" | "skip_sw" => {}
            "prio" | "pref" => filter.prio = Some(value(line, next("the priority")?, "a priority")?),
            "action" => action(&mut filter, &mut words, line)?,
            key if KEYS.contains(&key) => {
                let text = next("the value of a key")?.to_owned();
                filter.keys.insert(key.to_owned(), text);
            }
            other => return Err(unknown(line, other)),
        }
    }
    if filter.device.is_empty() {
        return Err(ImportError::Missing { line, what: "dev DEVICE" });
    }
    if filter.redirect.is_none() && !filter.drops {
        return Err(ImportError::Missing {
            line,
            what: "action mirred egress redirect dev DEVICE, or action drop,",
        });
    }
    Ok(filter)
}

fn action<'w>(
    filter: &mut Filter,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    line: usize,
) -> Result<(), ImportError> {
    match words.next() {
        Some("drop") => filter.drops = true,
        Some("mirred") => {
            for expected in ["egress", "redirect", "dev"] {
                match words.next() {
                    Some(word) if word == expected => {}
                    Some(word) => return Err(unknown(line, word)),
                    None => {
                        return Err(ImportError::Missing { line, what: "mirred egress redirect dev DEVICE" });
                    }
                }
            }
            let device = words.next().ok_or(ImportError::Missing { line, what: "the device of mirred" })?;
            filter.redirect = Some(device.to_owned());
        }
        Some("tunnel_key") => match words.next() {
            Some("unset") => filter.unset = true,
            Some("set") => {
                let mut keys = BTreeMap::new();
                while let Some(key) =
                    words.next_if(|word| ["src_ip", "dst_ip", "dst_port", "id"].contains(word))
                {
                    let text = words
                        .next()
                        .ok_or(ImportError::Missing { line, what: "the value of a tunnel key" })?;
                    keys.insert(key.to_owned(), text.to_owned());
                }
                filter.set = Some(keys);
            }
            Some(word) => return Err(unknown(line, word)),
            None => return Err(ImportError::Missing { line, what: "set or unset" }),
        },
        Some(word) => return Err(unknown(line, word)),
        None => return Err(ImportError::Missing { line, what: "an action" }),
    }
    Ok(())
}

/// Both ends of a tunnel, and the network in it.
struct Tunnel {
    bridge: String,
    peer: String,
    ipv6: bool,
}

/// The tunnel that a filter names by these keys, on a VXLAN device.
fn tunnel(
    line: usize,
    device: &str,
    keys: &BTreeMap<String, String>,
    [local, remote, port, vni]: [&'static str; 4],
    tunnels: &BTreeMap<String, Vxlan>,
    resources: &mut Resources<'_>,
) -> Result<Tunnel, ImportError> {
    let vxlan = tunnels.get(device).ok_or_else(|| ImportError::Device { line, name: device.to_owned() })?;
    let get = |what: &'static str| keys.get(what).ok_or(ImportError::Missing { line, what });
    let local: IpAddr = value(line, get(local)?, "an IP address")?;
    let remote: IpAddr = value(line, get(remote)?, "an IP address")?;
    if let Some(port) = keys.get(port) {
        port_4789(line, port)?;
    }
    let id: u32 = value(line, get(vni)?, "a VNI")?;
    if vxlan.vni.is_some_and(|vni| vni != id) {
        let what = format!("{device:?} has another VNI than {id}");
        return Err(ImportError::Conflict { line, what });
    }
    let uplink = resources.port(&vxlan.uplink, guess(&vxlan.uplink), line)?;
    let vtep = resources.vtep(&uplink, local);
    let bridge = resources.bridge(&vtep, id);
    let peer = resources.peer(&vtep, remote, &bridge);
    Ok(Tunnel { bridge, peer, ipv6: local.is_ipv6() })
}

/// A bridge carries all that its stations send; a filter by more than MAC addresses is something else.
fn only_addresses(line: usize, filter: &Filter, more: &[&str]) -> Result<(), ImportError> {
    let known =
        |key: &&String| ["dst_mac", "src_mac"].contains(&key.as_str()) || more.contains(&key.as_str());
    match filter.keys.keys().find(|key| !known(key)) {
        Some(key) => Err(unknown(line, key)),
        None => Ok(()),
    }
}

fn is_group(mac: &str) -> bool {
    let first = mac.split(':').next().and_then(|octet| u8::from_str_radix(octet, 16).ok());
    first.is_some_and(|octet| octet & 1 == 1)
}

const EVERY_TYPE: &str = "a bridge forwards every EtherType between the stations that the filters name, not only those of their protocols";

fn encapsulates(
    line: usize,
    filter: &Filter,
    set: &BTreeMap<String, String>,
    tunnels: &BTreeMap<String, Vxlan>,
    resources: &mut Resources<'_>,
) -> Result<(), ImportError> {
    only_addresses(line, filter, &[])?;
    let redirect = filter.redirect.as_deref().ok_or(ImportError::Missing { line, what: "mirred" })?;
    let tunnel = tunnel(line, redirect, set, ["src_ip", "dst_ip", "dst_port", "id"], tunnels, resources)?;
    let port = resources.port(&filter.device, guess(&filter.device), line)?;
    resources.attach(&port, &tunnel.bridge, tunnel.ipv6, line)?;
    if let Some(source) = filter.keys.get("src_mac") {
        resources.source(&port, source, true, line)?;
        resources.station(&tunnel.bridge, source, Place::Port(port), line)?;
    }
    match filter.keys.get("dst_mac") {
        Some(to) if is_group(to) => {}
        Some(to) => resources.station(&tunnel.bridge, to, Place::Peer(tunnel.peer), line)?,
        None => return Err(ImportError::Missing { line, what: "dst_mac" }),
    }
    resources.note(EVERY_TYPE);
    Ok(())
}

fn decapsulates(
    line: usize,
    filter: &Filter,
    tunnels: &BTreeMap<String, Vxlan>,
    resources: &mut Resources<'_>,
) -> Result<(), ImportError> {
    let keys = ["enc_dst_ip", "enc_src_ip", "enc_dst_port", "enc_key_id"];
    only_addresses(line, filter, &keys)?;
    let tunnel = tunnel(line, &filter.device, &filter.keys, keys, tunnels, resources)?;
    let redirect = filter.redirect.as_deref().ok_or(ImportError::Missing { line, what: "mirred" })?;
    let port = resources.port(redirect, guess(redirect), line)?;
    resources.attach(&port, &tunnel.bridge, tunnel.ipv6, line)?;
    if let Some(source) = filter.keys.get("src_mac") {
        resources.station(&tunnel.bridge, source, Place::Peer(tunnel.peer), line)?;
    }
    match filter.keys.get("dst_mac") {
        Some(to) if is_group(to) => {}
        Some(to) => resources.station(&tunnel.bridge, to, Place::Port(port), line)?,
        None => return Err(ImportError::Missing { line, what: "dst_mac" }),
    }
    resources.note(EVERY_TYPE);
    Ok(())
}

/// A filter without a tunnel, in OpenFlow text form. The lower a filter's number, the sooner it is looked at.
fn forwards(line: usize, filter: &Filter, resources: &mut Resources<'_>) -> Result<(), ImportError> {
    let port = resources.port(&filter.device, guess(&filter.device), line)?;
    let priority = u16::MAX - filter.prio.unwrap_or(0);
    let mut flow = format!("priority={priority},in_port={port}");
    let mut protocol = match filter.protocol.as_deref() {
        None | Some("all") => "",
        Some("ip") => "ip",
        Some("ipv6") => "ipv6",
        Some("arp") => "arp",
        Some(other) => return Err(unknown(line, other)),
    };
    let six = if protocol == "ipv6" { "6" } else { "" };
    let transport = filter.keys.get("ip_proto").map(|proto| match proto.as_str() {
        "tcp" => Ok(format!("tcp{six}")),
        "udp" => Ok(format!("udp{six}")),
        other => Err(unknown(line, other)),
    });
    let transport = transport.transpose()?;
    if let Some(transport) = &transport {
        protocol = transport;
    }
    if !protocol.is_empty() {
        flow += &format!(",{protocol}");
    }
    for (key, text) in &filter.keys {
        let name = match (key.as_str(), six) {
            ("dst_mac", _) => "dl_dst",
            ("src_mac", _) => "dl_src",
            ("dst_ip", "") => "nw_dst",
            ("src_ip", "") => "nw_src",
            ("dst_ip", _) => "ipv6_dst",
            ("src_ip", _) => "ipv6_src",
            ("dst_port", _) => "tp_dst",
            ("src_port", _) => "tp_src",
            ("vlan_id", _) => "dl_vlan",
            ("ip_proto", _) => continue,
            (other, _) => return Err(unknown(line, other)),
        };
        flow += &format!(",{name}={text}");
    }
    flow += ",actions=";
    match &filter.redirect {
        Some(to) if !filter.drops => flow += &format!("output:{}", resources.port(to, guess(to), line)?),
        _ => flow += "drop",
    }
    resources.rule(flow);
    Ok(())
}

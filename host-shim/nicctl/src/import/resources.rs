//! What lines have come to so far, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use super::{ImportError, Imported};

/// A Port that lines speak of.
#[derive(Debug, Default)]
struct Port {
    device: String,
    macs: BTreeSet<String>,
    anti_spoof: bool,
    bridge: Option<String>,
    mtu: Option<u16>,
}

/// A Vtep and where it is.
#[derive(Debug)]
struct Vtep {
    port: String,
    address: IpAddr,
}

/// Where a station is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The id of a Port.
    Port(String),
    /// The id of a TunnelPeer.
    Peer(String),
}

/// A station: its bridge, its address, its place.
type Station = (String, String);

/// The resources.
#[derive(Debug)]
pub(super) struct Resources<'a> {
    devices: &'a BTreeMap<String, String>,
    ports: BTreeMap<String, Port>,
    /// In the order of the lines: of rules that overlap the older one decides.
    rules: Vec<(String, String)>,
    vteps: BTreeMap<String, Vtep>,
    /// Prefix lengths that lines gave to addresses.
    prefixes: BTreeMap<IpAddr, u8>,
    /// Bridge, its Vtep and its VNI.
    bridges: BTreeMap<String, (String, u32)>,
    /// Peer, its Vtep and address, its bridges.
    peers: BTreeMap<String, (String, IpAddr, BTreeSet<String>)>,
    stations: BTreeMap<Station, Place>,
    notes: Vec<String>,
}

impl<'a> Resources<'a> {
    pub(super) fn new(devices: &'a BTreeMap<String, String>) -> Resources<'a> {
        Resources {
            devices,
            ports: BTreeMap::new(),
            rules: Vec::new(),
            vteps: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            bridges: BTreeMap::new(),
            peers: BTreeMap::new(),
            stations: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The id of the Port of that name. Its device is what `--device` says, else `guess`.
    pub(super) fn port(
        &mut self,
        name: &str,
        guess: Option<String>,
        line: usize,
    ) -> Result<String, ImportError> {
        let id = id(name);
        if !self.ports.contains_key(&id) {
            let device = self.devices.get(name).cloned().or(guess);
            let device = device.ok_or_else(|| ImportError::Device { line, name: name.to_owned() })?;
            if let Some((other, _)) = self.ports.iter().find(|(_, port)| port.device == device) {
                let what = format!("{name:?} would be the device {device}, and so is {other:?}");
                return Err(ImportError::Conflict { line, what });
            }
            self.ports.insert(id.clone(), Port { device, ..Port::default() });
        }
        Ok(id)
    }

    /// True if a line has said which device that is.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.ports.contains_key(&id(name))
    }

    /// A MAC address that the port's station has; with `only`, frames with any other are dropped.
    pub(super) fn source(
        &mut self,
        port: &str,
        mac: &str,
        only: bool,
        line: usize,
    ) -> Result<(), ImportError> {
        let mac = address(line, mac)?;
        if let Some(port) = self.ports.get_mut(port) {
            port.macs.insert(mac);
            port.anti_spoof |= only;
        }
        Ok(())
    }

    /// A flow rule in OpenFlow text form.
    pub(super) fn rule(&mut self, flow: String) {
        let name = format!("imported-{:04}", self.rules.len() + 1);
        self.rules.push((name, flow));
    }

    pub(super) fn prefix(&mut self, address: IpAddr, length: u8) {
        self.prefixes.insert(address, length);
    }

    /// The id of the Vtep with that address on that port.
    pub(super) fn vtep(&mut self, port: &str, address: IpAddr) -> String {
        let id = format!("vtep-{}", id(&address.to_string()));
        self.vteps.insert(id.clone(), Vtep { port: port.to_owned(), address });
        id
    }

    /// The id of the bridge of that VNI.
    pub(super) fn bridge(&mut self, vtep: &str, vni: u32) -> String {
        let id = format!("vni-{vni}");
        self.bridges.insert(id.clone(), (vtep.to_owned(), vni));
        id
    }

    /// The id of the peer, which is a member of the bridge.
    pub(super) fn peer(&mut self, vtep: &str, address: IpAddr, bridge: &str) -> String {
        let id = format!("peer-{}", id(&address.to_string()));
        let peer =
            self.peers.entry(id.clone()).or_insert_with(|| (vtep.to_owned(), address, BTreeSet::new()));
        peer.2.insert(bridge.to_owned());
        id
    }

    /// The port is attached to the bridge.
    pub(super) fn attach(
        &mut self,
        port: &str,
        bridge: &str,
        ipv6: bool,
        line: usize,
    ) -> Result<(), ImportError> {
        let Some(found) = self.ports.get_mut(port) else { return Ok(()) };
        if let Some(other) = found.bridge.as_ref().filter(|other| *other != bridge) {
            let what = format!("{port:?} would be in {bridge:?}, and is in {other:?}");
            return Err(ImportError::Conflict { line, what });
        }
        found.bridge = Some(bridge.to_owned());
        // What the tunnel's headers leave of 1500 octets.
        found.mtu = Some(if ipv6 { 1430 } else { 1450 });
        Ok(())
    }

    /// A station of a bridge; two lines may say the same.
    pub(super) fn station(
        &mut self,
        bridge: &str,
        mac: &str,
        place: Place,
        line: usize,
    ) -> Result<(), ImportError> {
        let key = (bridge.to_owned(), address(line, mac)?);
        match self.stations.get(&key) {
            Some(known) if *known != place => Err(ImportError::Conflict {
                line,
                what: format!("{mac} would be at two places of {bridge:?}"),
            }),
            _ => {
                self.stations.insert(key, place);
                Ok(())
            }
        }
    }

    pub(super) fn finish(mut self) -> Imported {
        let mut yaml = String::new();
        let mut put = |kind: &str, name: String, spec: &[(&str, String)]| {
            let spec: Vec<String> = spec.iter().map(|(key, value)| format!("  {key}: {value}\n")).collect();
            // Writing to a String does not fail.
            let _ =
                write!(yaml, "---\napiVersion: nic.v1\nkind: {kind}\nname: {name}\nspec:\n{}", spec.concat());
        };
        for (id, port) in &self.ports {
            let mut spec = vec![("device", port.device.clone())];
            spec.extend(port.mtu.map(|mtu| ("mtu", mtu.to_string())));
            if !port.macs.is_empty() {
                let macs: Vec<String> = port.macs.iter().map(|mac| format!("'{mac}'")).collect();
                spec.push(("macAddresses", format!("[{}]", macs.join(", "))));
            }
            spec.extend(port.anti_spoof.then(|| ("antiSpoof", "true".to_owned())));
            if let Some(bridge) = &port.bridge {
                spec.push(("bridge", format!("bridges/{bridge}")));
                spec.push(("disableLearning", "true".to_owned()));
            }
            put("Port", format!("ports/{id}"), &spec);
        }
        for (id, vtep) in &self.vteps {
            let usual = if vtep.address.is_ipv4() { 24 } else { 64 };
            let length = self.prefixes.get(&vtep.address).copied().unwrap_or_else(|| {
                self.notes.push(format!(
                    "no line says how long the prefix of {} is: {usual} is taken",
                    vtep.address
                ));
                usual
            });
            let address = format!("'{}/{length}'", vtep.address);
            put(
                "Vtep",
                format!("vteps/{id}"),
                &[("port", format!("ports/{}", vtep.port)), ("address", address)],
            );
        }
        for (id, (vtep, vni)) in &self.bridges {
            let spec = [
                ("vtep", format!("vteps/{vtep}")),
                ("vni", vni.to_string()),
                ("unknownUnicast", "DROP".into()),
            ];
            put("Bridge", format!("bridges/{id}"), &spec);
        }
        for (id, (vtep, address, bridges)) in &self.peers {
            let bridges: Vec<String> = bridges.iter().map(|bridge| format!("bridges/{bridge}")).collect();
            let spec = [
                ("vtep", format!("vteps/{vtep}")),
                ("address", format!("'{address}'")),
                ("bridges", format!("[{}]", bridges.join(", "))),
                ("disableLearning", "true".to_owned()),
            ];
            put("TunnelPeer", format!("tunnelPeers/{id}"), &spec);
        }
        for ((bridge, mac), place) in &self.stations {
            let place = match place {
                Place::Port(port) => ("port", format!("ports/{port}")),
                Place::Peer(peer) => ("tunnelPeer", format!("tunnelPeers/{peer}")),
            };
            let name = format!("fdbEntries/{bridge}.{}", mac.replace(':', ""));
            put(
                "FdbEntry",
                name,
                &[("bridge", format!("bridges/{bridge}")), ("macAddress", format!("'{mac}'")), place],
            );
        }
        for (name, flow) in &self.rules {
            put("FlowRule", format!("flowRules/{name}"), &[("flow", format!("'{flow}'"))]);
        }
        Imported { yaml, notes: self.notes }
    }
}

/// A MAC address, whole: six octets, with no mask.
fn address(line: usize, mac: &str) -> Result<String, ImportError> {
    let octet = |octet: &str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
    if mac.split(':').count() == 6 && mac.split(':').all(octet) {
        return Ok(mac.to_ascii_lowercase());
    }
    Err(ImportError::Value { line, word: mac.to_owned(), expected: "a MAC address" })
}

/// A name as the id of a resource: small letters, digits, `-`, `_` and `.`, a letter first.
fn id(name: &str) -> String {
    let mut id: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.') { char } else { '-' })
        .collect();
    if !id.starts_with(|char: char| char.is_ascii_lowercase())
        && !id.is_empty()
        && name.parse::<IpAddr>().is_err()
    {
        id.insert(0, 'x');
    }
    id
}

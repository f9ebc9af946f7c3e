//! The device arguments, from text to values.

use std::collections::BTreeMap;

use nic_flow::PortId;
use nic_flow::port::ParsePortError;
use soft_eswitch::{Faults, FaultsError, Profile};

use crate::backing::{Traffic, TrafficError};

/// What a device is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceArgs {
    pub(crate) profile: Profile,
    pub(crate) max_rules: usize,
    pub(crate) buffers: usize,
    pub(crate) cache: usize,
    pub(crate) faults: Faults,
    /// The path of the control socket.
    pub(crate) control: Option<String>,
    /// All ports, with what stands behind each.
    pub(crate) ports: BTreeMap<PortId, BackingSpec>,
}

/// What is to stand behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum BackingSpec {
    #[default]
    Null,
    Inject,
    AfPacket(String),
    Tap(String),
    /// The name of a DPDK port.
    Ethdev(String),
    /// The path of a socket.
    Memif(String),
    /// What is sent when the port is started.
    Synth(Option<Traffic>),
    /// Where frames come from and where they go, at least one of both.
    Pcap {
        input: Option<String>,
        output: Option<String>,
    },
}

/// What is wrong with the device arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("{0:?} is not of the form key=value")]
    Form(String),
    #[error(
        "there is no argument {0:?}; known are profile, uplinks, vfs, hpf, backing, max_rules, buffers, cache, faults, control, representor"
    )]
    Unknown(String),
    #[error("argument {0:?} stands twice")]
    Twice(String),
    #[error("{key}={value}: a number from {min} to {max} is needed")]
    Number { key: &'static str, value: String, min: usize, max: usize },
    #[error("profile={0}: a profile is full or portable")]
    Profile(String),
    #[error("faults: {0}")]
    Faults(#[from] FaultsError),
    #[error("faults: stall:{0}: the device has no such port")]
    Stall(PortId),
    #[error("control: a path is needed")]
    Control,
    #[error(
        "backing={0}: each part is <port>:null, <port>:inject, <port>:af_packet:<interface>, <port>:tap:<interface>, <port>:ethdev:<DPDK port>, <port>:memif:<socket>, <port>:pcap:<file to read>:<file to write>, <port>:synth or <port>:synth:<traffic>"
    )]
    Backing(String),
    #[error("backing={text}: {why}")]
    BackingPort { text: String, why: ParsePortError },
    #[error("backing={text}: {why}")]
    BackingTraffic { text: String, why: TrafficError },
    #[error("backing={0}: the device has no such port")]
    NoSuchPort(String),
    #[error("backing={0}: the port has a backing already")]
    BackingTwice(String),
}

/// Splits at commas outside of brackets: representor=[0,2-3] is one argument.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut depth = 0i32;
    let outside = move |c: char| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth <= 0
    };
    text.split(outside).filter(|part| !part.is_empty()).collect()
}

impl DeviceArgs {
    /// Reads the arguments of a device. `representor` is not looked at: ethdev's own parser reads it.
    pub(crate) fn parse(text: &str) -> Result<DeviceArgs, ArgsError> {
        let mut values = BTreeMap::new();
        for part in split(text) {
            let (key, value) = part.split_once('=').ok_or_else(|| ArgsError::Form(part.into()))?;
            if !KEYS.contains(&key) {
                return Err(ArgsError::Unknown(key.into()));
            }
            if values.insert(key, value).is_some() {
                return Err(ArgsError::Twice(key.into()));
            }
        }
        let number = |key: &'static str, default: usize, min: usize, max: usize| match values.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (min..=max).contains(n))
                .ok_or_else(|| ArgsError::Number { key, value: (*text).into(), min, max }),
        };
        let profile = match values.get("profile") {
            None => Profile::Full,
            Some(text) => text.parse().map_err(|_| ArgsError::Profile((*text).into()))?,
        };
        let uplinks = number("uplinks", 1, 1, PortId::MAX_PF.into())?;
        let vfs = number("vfs", 0, 0, PortId::MAX_VF.into())?;
        let host_pf = number("hpf", 0, 0, 1)? == 1;
        let mut ports = all_ports(uplinks as u8, vfs as u16, host_pf);
        if let Some(text) = values.get("backing") {
            backings(text, &mut ports)?;
        }
        let faults: Faults = values.get("faults").map_or(Ok(Faults::default()), |text| text.parse())?;
        if let Some(stranger) = faults.stall.iter().find(|port| !ports.contains_key(*port)) {
            return Err(ArgsError::Stall(*stranger));
        }
        let control = values.get("control").map(|path| String::from(*path));
        if control.as_deref() == Some("") {
            return Err(ArgsError::Control);
        }
        Ok(DeviceArgs {
            profile,
            max_rules: number("max_rules", 1 << 16, 1, 1 << 24)?,
            buffers: number("buffers", 1 << 14, 64, 1 << 20)?,
            cache: number("cache", 1 << 13, 2, 1 << 24)?,
            faults,
            control,
            ports,
        })
    }
}

const KEYS: [&str; 11] = [
    "profile",
    "uplinks",
    "vfs",
    "hpf",
    "backing",
    "max_rules",
    "buffers",
    "cache",
    "faults",
    "control",
    "representor",
];

/// Behind each uplink: the host's physical function, if asked for, and its virtual functions.
fn all_ports(uplinks: u8, vfs: u16, host_pf: bool) -> BTreeMap<PortId, BackingSpec> {
    let of_uplink = |n: u8| {
        let pf = host_pf.then(|| PortId::host_pf(n)).flatten();
        let vfs = (0..vfs).filter_map(move |vf| PortId::vf(n, vf));
        PortId::uplink(n).into_iter().chain(pf).chain(vfs)
    };
    (0..uplinks).flat_map(of_uplink).map(|port| (port, BackingSpec::Null)).collect()
}

fn backings(text: &str, ports: &mut BTreeMap<PortId, BackingSpec>) -> Result<(), ArgsError> {
    let mut named = Vec::new();
    for part in text.split('+') {
        let (port, spec) = part.split_once(':').ok_or_else(|| ArgsError::Backing(part.into()))?;
        let spec = match spec.split_once(':') {
            None if spec == "null" => BackingSpec::Null,
            None if spec == "inject" => BackingSpec::Inject,
            Some(("af_packet", name)) if !name.is_empty() => BackingSpec::AfPacket(name.into()),
            Some(("tap", name)) if !name.is_empty() => BackingSpec::Tap(name.into()),
            Some(("ethdev", name)) if !name.is_empty() => BackingSpec::Ethdev(name.into()),
            Some(("memif", path)) if !path.is_empty() => BackingSpec::Memif(path.into()),
            None if spec == "synth" => BackingSpec::Synth(None),
            Some(("synth", words)) => {
                let traffic = words.parse();
                let wrong = |why| ArgsError::BackingTraffic { text: part.into(), why };
                BackingSpec::Synth(Some(traffic.map_err(wrong)?))
            }
            Some(("pcap", files)) => pcap(files).ok_or_else(|| ArgsError::Backing(part.into()))?,
            _ => return Err(ArgsError::Backing(part.into())),
        };
        if port == "*" {
            // For all that are not named, wherever in the list they are.
            let others = ports.iter_mut().filter(|(port, _)| !named.contains(*port));
            others.for_each(|(_, backing)| *backing = spec.clone());
            continue;
        }
        let port: PortId = port.parse().map_err(|why| ArgsError::BackingPort { text: part.into(), why })?;
        if named.contains(&port) {
            return Err(ArgsError::BackingTwice(part.into()));
        }
        named.push(port);
        *ports.get_mut(&port).ok_or_else(|| ArgsError::NoSuchPort(part.into()))? = spec;
    }
    Ok(())
}

/// Two paths, of which one may be empty.
fn pcap(files: &str) -> Option<BackingSpec> {
    let (input, output) = files.split_once(':')?;
    let path = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (input, output) = (path(input), path(output));
    (input.is_some() || output.is_some()).then_some(BackingSpec::Pcap { input, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_there_is_one_uplink_with_nothing_behind_it() {
        let args = DeviceArgs::parse("").unwrap();
        assert_eq!(args.profile, Profile::Full);
        assert_eq!(args.ports.into_iter().collect::<Vec<_>>(), [("p0".parse().unwrap(), BackingSpec::Null)]);
    }

    #[test]
    fn ports_and_their_backings_are_read_in_any_order() {
        let text = "vfs=2,representor=[0,1],backing=pf0vf1:af_packet:veth1+*:inject+p0:null,uplinks=1,hpf=1,profile=portable";
        let args = DeviceArgs::parse(text).unwrap();
        assert_eq!(args.profile, Profile::Portable);
        let expected = [
            ("p0", BackingSpec::Null),
            ("pf0hpf", BackingSpec::Inject),
            ("pf0vf0", BackingSpec::Inject),
            ("pf0vf1", BackingSpec::AfPacket("veth1".into())),
        ];
        let expected: BTreeMap<PortId, _> =
            expected.into_iter().map(|(port, backing)| (port.parse().unwrap(), backing)).collect();
        assert_eq!(args.ports, expected);
    }

    #[test]
    fn files_and_tap_devices_are_read() {
        let args = DeviceArgs::parse(
            "vfs=3,backing=p0:tap:t0+pf0vf0:pcap:a.pcap:/b/c+pf0vf1:pcap::o+pf0vf2:pcap:i:",
        );
        let backings: Vec<_> = args.unwrap().ports.into_values().collect();
        let pcap = |input: Option<&str>, output: Option<&str>| BackingSpec::Pcap {
            input: input.map(String::from),
            output: output.map(String::from),
        };
        let expected = [
            BackingSpec::Tap("t0".into()),
            pcap(Some("a.pcap"), Some("/b/c")),
            pcap(None, Some("o")),
            pcap(Some("i"), None),
        ];
        assert_eq!(backings, expected);
    }

    #[test]
    fn a_dpdk_port_is_named_as_its_bus_names_it() {
        let args = DeviceArgs::parse("backing=p0:ethdev:0000:03:10.0").unwrap();
        let backings: Vec<_> = args.ports.into_values().collect();
        assert_eq!(backings, [BackingSpec::Ethdev("0000:03:10.0".into())]);
    }

    #[test]
    fn sources_with_and_without_words_are_read() {
        let args = DeviceArgs::parse("vfs=1,backing=p0:synth+pf0vf0:synth:rate:10000/flows:64").unwrap();
        let backings: Vec<_> = args.ports.into_values().collect();
        let traffic = "flows:64/rate:10000".parse().unwrap();
        assert_eq!(backings, [BackingSpec::Synth(None), BackingSpec::Synth(Some(traffic))]);
    }

    #[test]
    fn faults_and_the_control_socket_are_read() {
        let args = DeviceArgs::parse("vfs=1,faults=create:eio:0.5+stall:pf0vf0,control=/run/a+b:c").unwrap();
        assert_eq!(args.faults.to_string(), "create:eio:0.5+stall:pf0vf0");
        assert_eq!(args.control.as_deref(), Some("/run/a+b:c"));
        let args = DeviceArgs::parse("").unwrap();
        assert!(args.faults.is_none() && args.control.is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("vfs", "vfs"),
            ("colour=red", "colour"),
            ("vfs=1,vfs=2", "vfs"),
            ("vfs=1025", "1025"),
            ("uplinks=0", "uplinks=0"),
            ("profile=mlx5", "mlx5"),
            ("backing=p0", "p0"),
            ("backing=p0:af_packet:", "p0:af_packet:"),
            ("backing=p0:tap:", "p0:tap:"),
            ("backing=p0:ethdev:", "p0:ethdev:"),
            ("backing=p0:pcap:only", "p0:pcap:only"),
            ("backing=p0:memif:", "p0:memif:"),
            ("backing=p0:pcap::", "p0:pcap::"),
            ("backing=p0:synth:", "rate:<0 to 10000000>"),
            ("backing=p0:synth:rate:5/flows:many", "\"flows:many\""),
            ("backing=eth0:null", "eth0"),
            ("backing=p1:null", "p1"),
            ("backing=p0:null+p0:inject", "p0:inject"),
            ("faults=", "\"\""),
            ("faults=lag:5+colour:red", "colour:red"),
            ("vfs=1,faults=stall:pf0vf0+stall:pf0vf1", "pf0vf1"),
            ("control=", "path"),
        ] {
            let error = DeviceArgs::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

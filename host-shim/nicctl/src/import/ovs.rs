//! `ovs-vsctl` and `ovs-ofctl` lines: ports of a DPDK bridge, and flows.

use super::ImportError;
use super::resources::Resources;
use super::words::Command;

pub(super) fn translate(commands: &[Command], resources: &mut Resources<'_>) -> Result<(), ImportError> {
    for command in commands {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["ovs-vsctl", rest @ ..] => vsctl(rest, command.line, resources)?,
            ["ovs-ofctl", rest @ ..] => ofctl(rest, command.line, resources)?,
            [other, ..] => return Err(unknown(command.line, other)),
            [] => {}
        }
    }
    Ok(())
}

fn unknown(line: usize, word: &str) -> ImportError {
    ImportError::Word { line, word: word.to_owned() }
}

/// One line has several commands, separated by `--`.
fn vsctl(words: &[&str], line: usize, resources: &mut Resources<'_>) -> Result<(), ImportError> {
    let is_option = |word: &&&str| matches!(**word, "--no-wait" | "--may-exist");
    let words: Vec<&str> = words.iter().filter(|word| !is_option(word)).copied().collect();
    let parts: Vec<&[&str]> = words.split(|word| *word == "--").filter(|part| !part.is_empty()).collect();
    let mut added = None;
    for part in &parts {
        match part {
            ["set", "Open_vSwitch", ".", settings @ ..] => switch_settings(settings, line, resources)?,
            ["add-br", _bridge] => {
                resources.note("bridges of Open vSwitch have no equivalent: flow rules name ports")
            }
            ["set", "bridge" | "Bridge", _bridge, settings @ ..] => bridge_settings(settings, line)?,
            ["add-port", _bridge, name] => added = Some(*name),
            ["set", "Interface" | "interface", name, settings @ ..] => {
                let guess = interface(settings, line)?;
                resources.port(name, guess, line)?;
                added = added.filter(|added| added != name);
            }
            [word, ..] => return Err(unknown(line, word)),
            [] => {}
        }
    }
    // An interface that nothing more is said of: only --device can tell what it is.
    added.map_or(Ok(()), |name| resources.port(name, None, line).map(|_| ()))
}

fn switch_settings(settings: &[&str], line: usize, resources: &mut Resources<'_>) -> Result<(), ImportError> {
    for setting in settings {
        let known = ["other_config:hw-offload=true", "other_config:dpdk-init=true"].contains(setting)
            || setting.starts_with("other_config:dpdk-extra=");
        if !known {
            return Err(unknown(line, setting));
        }
        resources.note(format!(
            "{setting} has no equivalent: nic-datapath finds the card, and flows are always offloaded"
        ));
    }
    Ok(())
}

fn bridge_settings(settings: &[&str], line: usize) -> Result<(), ImportError> {
    match settings.iter().find(|setting| **setting != "datapath_type=netdev") {
        Some(other) => Err(unknown(line, other)),
        None => Ok(()),
    }
}

/// The device that an interface's settings name.
fn interface(settings: &[&str], line: usize) -> Result<Option<String>, ImportError> {
    let mut device = None;
    for setting in settings {
        if let Some(arguments) = setting.strip_prefix("options:dpdk-devargs=") {
            device = Some(devargs(arguments, line)?);
        } else if *setting != "type=dpdk" {
            return Err(unknown(line, setting));
        }
    }
    Ok(device)
}

/// `0000:85:00.0` is the uplink of that PCI function, `0000:85:00.0,representor=[1]` its VF 1.
fn devargs(text: &str, line: usize) -> Result<String, ImportError> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    let function = address.rsplit_once('.').and_then(|(_, function)| function.parse::<u8>().ok());
    let expected = "a PCI address as 0000:85:00.0";
    let function = function.filter(|function| *function < 8).ok_or_else(|| ImportError::Value {
        line,
        word: address.into(),
        expected,
    })?;
    let mut device = format!("p{function}");
    for part in parts {
        let Some(vf) = part.strip_prefix("representor=") else {
            if part.starts_with("dv_flow_en=") {
                continue;
            }
            return Err(unknown(line, part));
        };
        let vf = vf.trim_start_matches("vf").trim_start_matches('[').trim_end_matches(']');
        let vf: u16 = vf.parse().map_err(|_| ImportError::Value {
            line,
            word: part.into(),
            expected: "one representor as representor=[0]",
        })?;
        device = format!("pf{function}vf{vf}");
    }
    Ok(device)
}

fn ofctl(words: &[&str], line: usize, resources: &mut Resources<'_>) -> Result<(), ImportError> {
    let words: Vec<&str> = match words {
        ["-O", _version, rest @ ..] => rest.to_vec(),
        _ => words.to_vec(),
    };
    match words.as_slice() {
        ["add-flow", _bridge, flow] => {
            for name in ports_of(flow) {
                if !resources.knows(name) {
                    resources.port(name, None, line)?;
                }
            }
            resources.rule((*flow).to_owned());
            Ok(())
        }
        ["add-flow", ..] => Err(ImportError::Missing { line, what: "the flow, as one word," }),
        [word, ..] => Err(unknown(line, word)),
        [] => Err(ImportError::Missing { line, what: "a command" }),
    }
}

/// The ports that a flow names. Whether the rest of it has a meaning here, the card says: it reads the same
/// text form.
fn ports_of(flow: &str) -> Vec<&str> {
    let parts = flow.split([',', ' ']);
    let names = parts.filter_map(|part| {
        let part = part.strip_prefix("actions=").or(part.strip_prefix("action=")).unwrap_or(part);
        part.strip_prefix("in_port=").or(part.strip_prefix("output:")).map(|name| name.trim_matches('"'))
    });
    names.collect()
}

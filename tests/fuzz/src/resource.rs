//! What `nicctl` reads: files of resources, and command lines that were typed for other switches.

use std::collections::BTreeMap;
use std::sync::Arc;

use nic_proto::v1::{Resource, resource};
use nicctl::arguments::Language;
use nicctl::files;
use nicctl::import::translate;

/// `nicctl::files`: YAML and proto-JSON. What is read is read again from its canonical form as the same
/// resource; what is refused is refused at a line of the text.
pub fn resource_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file: Arc<str> = "file".into();
    // A file that ends in a newline ends on the line behind it. YAML has more ways to end a line than one.
    let lines = 1 + text.chars().filter(|char| "\n\r\u{85}\u{2028}\u{2029}".contains(*char)).count() as u64;
    match files::parse(&file, text) {
        Ok(entries) => {
            for entry in entries {
                let line = entry.place("spec").line;
                assert!((1..=lines).contains(&line), "line {line} of {lines}");
                let canonical = document(&entry.resource);
                let again = files::parse(&file, &canonical).unwrap_or_else(|faults| {
                    panic!("{} in {canonical}", faults[0]);
                });
                assert_eq!(again.len(), 1);
                assert_eq!((&again[0].resource, &again[0].name), (&entry.resource, &entry.name));
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!((1..=lines).contains(&fault.place.line), "{fault} of {lines}");
            }
        }
    }
}

/// A resource as a document of a file.
fn document(resource: &Resource) -> String {
    let (kind, message) = match resource.kind.as_ref().expect("a kind") {
        resource::Kind::Port(port) => ("Port", serde_json::to_value(port)),
        resource::Kind::FlowRule(rule) => ("FlowRule", serde_json::to_value(rule)),
        resource::Kind::Bridge(bridge) => ("Bridge", serde_json::to_value(bridge)),
        resource::Kind::Vtep(vtep) => ("Vtep", serde_json::to_value(vtep)),
        resource::Kind::TunnelPeer(peer) => ("TunnelPeer", serde_json::to_value(peer)),
        resource::Kind::FdbEntry(entry) => ("FdbEntry", serde_json::to_value(entry)),
    };
    let mut value = message.expect("a message has a JSON form");
    value["apiVersion"] = "nic.v1".into();
    value["kind"] = kind.into();
    value.to_string()
}

/// `nicctl::import`: the first byte chooses the language. What comes out is what `apply` reads.
pub fn import(bytes: &[u8]) {
    let Some((&language, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let language = if language & 1 == 0 { Language::Tc } else { Language::OvsOfctl };
    let devices = [("eth7", "p0"), ("eth8", "pf0vf0"), ("v", "pf0vf1")];
    let devices: BTreeMap<String, String> =
        devices.into_iter().map(|(name, device)| (name.to_owned(), device.to_owned())).collect();
    match translate(language, text, &devices) {
        Ok(imported) => {
            let entries = files::parse(&"import".into(), &imported.yaml);
            assert!(entries.is_ok(), "{entries:?}\n{}", imported.yaml);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

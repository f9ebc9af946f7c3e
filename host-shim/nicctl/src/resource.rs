//! `get` and `delete`.

mod calls;
mod tables;

use std::io::Write;

use nic_proto::v1::{Resource, resource};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Delete, Output};
use crate::client::{Client, request_id};
use crate::failure::Failure;
use crate::files::{API_VERSION, Kind};
use crate::output;

pub(crate) use calls::{facts, kind_of};
pub(crate) use tables::condition;

/// A resource in the form of the files that `apply` reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    resource: &'a T,
}

/// A resource serializes as the file that `apply` reads.
#[derive(Debug, Clone)]
pub(crate) struct Shown(pub(crate) Resource);

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let api_version = API_VERSION;
        let kind = kind_of(&self.0).map_or("", Kind::name);
        match &self.0.kind {
            Some(resource::Kind::Port(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            Some(resource::Kind::FlowRule(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            Some(resource::Kind::Bridge(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            Some(resource::Kind::Vtep(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            Some(resource::Kind::TunnelPeer(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            Some(resource::Kind::FdbEntry(resource)) => {
                Document { api_version, kind, resource }.serialize(serializer)
            }
            None => serializer.serialize_unit(),
        }
    }
}

/// Shows the resources that the words of the command line name.
pub(crate) async fn get(
    client: &Client,
    what: &[String],
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (kind, name) = target(what)?;
    let single = name.is_some();
    let resources = match name {
        Some(name) => vec![calls::get(client, kind, name).await?],
        None => calls::list(client, kind).await?,
    };
    let resources: Vec<Shown> = resources.into_iter().map(Shown).collect();
    output::write_documents(out, output, &resources, single, |shown| {
        tables::of(kind, &shown.iter().map(|shown| &shown.0).collect::<Vec<_>>())
    })
}

/// The one resource that the words of the command line name.
pub(crate) async fn one(client: &Client, what: &[String]) -> Result<Resource, Failure> {
    let (kind, name) = target(what)?;
    let name = name.ok_or_else(|| Failure::Usage("that needs the name of one resource".into()))?;
    calls::get(client, kind, name).await
}

/// All resources of all kinds.
pub(crate) async fn all(client: &Client) -> Result<Vec<Resource>, Failure> {
    let mut all = Vec::new();
    for &kind in Kind::ALL {
        all.extend(calls::list(client, kind).await?);
    }
    Ok(all)
}

/// Deletes the resource that the words of the command line name.
pub(crate) async fn delete(
    client: &Client,
    command: Delete,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (kind, name) = target(&command.what)?;
    let name = name.ok_or_else(|| Failure::Usage("delete needs the name of one resource".into()))?;
    let revision = calls::delete(client, kind, name.clone(), command.etag, request_id()).await?;
    // As the messages of every kind have it.
    let response = json!({ "revision": revision.to_string() });
    output::write(out, output, &response, |_| format!("Revision {revision}: {name} deleted\n"))?;
    match command.wait {
        Some(limit) => client.wait_applied(revision, limit).await,
        None => Ok(()),
    }
}

/// What `ports`, `port pf0` or `ports/pf0` names: a kind, and one resource's full name if one is named.
pub(crate) fn target(what: &[String]) -> Result<(Kind, Option<String>), Failure> {
    let (kind, id) = match what {
        [one] => match one.split_once('/') {
            Some((kind, id)) => (kind, Some(id)),
            None => (one.as_str(), None),
        },
        [kind, id] => (kind.as_str(), Some(id.as_str())),
        _ => return Err(Failure::Usage("name a resource, such as ports or ports/pf0".into())),
    };
    let plain = kind.replace(['-', '_'], "").to_ascii_lowercase();
    let matches = |candidate: &Kind| {
        plain == candidate.name().to_ascii_lowercase() || plain == candidate.collection().to_ascii_lowercase()
    };
    let Some(kind) = Kind::ALL.iter().copied().find(matches) else {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.collection()).collect();
        return Err(Failure::Usage(format!("there are no {kind}; there are {}", known.join(", "))));
    };
    let Some(id) = id else { return Ok((kind, None)) };
    let name = kind.full_name(id);
    name.map(|name| (kind, Some(name)))
        .ok_or_else(|| Failure::Usage(format!("{id} is not the name of one of {}", kind.collection())))
}

/// The full name of a Port that an option names.
pub(crate) fn port_name(port: &str) -> Result<String, Failure> {
    full_name(Kind::Port, port)
}

/// The full name of a resource that an option names.
pub(crate) fn full_name(kind: Kind, name: &str) -> Result<String, Failure> {
    let wanted =
        || format!("a {} is named {}/ID, or ID for short, not {name}", kind.name(), kind.collection());
    kind.full_name(name).ok_or_else(|| Failure::Usage(wanted()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn a_resource_can_be_named_in_several_ways() {
        for (text, kind, name) in [
            ("ports", Kind::Port, None),
            ("port", Kind::Port, None),
            ("flow-rules", Kind::FlowRule, None),
            ("flowRules", Kind::FlowRule, None),
            ("FlowRule", Kind::FlowRule, None),
            ("ports/pf0", Kind::Port, Some("ports/pf0")),
            ("port/pf0", Kind::Port, Some("ports/pf0")),
            ("port pf0", Kind::Port, Some("ports/pf0")),
            ("port ports/pf0", Kind::Port, Some("ports/pf0")),
            ("flowrule a", Kind::FlowRule, Some("flowRules/a")),
            ("tunnel-peers", Kind::TunnelPeer, None),
            ("fdb_entry a", Kind::FdbEntry, Some("fdbEntries/a")),
        ] {
            let found = target(&words(text)).expect(text);
            assert_eq!((found.0, found.1.as_deref()), (kind, name), "{text}");
        }
    }

    #[test]
    fn what_names_no_resource_is_a_wrong_command_line() {
        for text in ["lags", "lags/a", "port flowRules/a", "port a/b", "ports/a/b"] {
            let failure = target(&words(text)).expect_err(text);
            assert_eq!(failure.exit_code(), 2, "{text}: {failure}");
        }
    }
}

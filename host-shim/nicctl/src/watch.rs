//! `watch`: the configuration as it is, and every change.
//!
//! For people a line for each event; as JSON or YAML one document for each, with the resume token of a
//! bookmark.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nic_proto::v1::watch_event::Event;
use nic_proto::v1::watch_service_client::WatchServiceClient;
use nic_proto::v1::{WatchEvent, WatchRequest};
use serde_json::{Value, json};

use crate::arguments::{Output, Watch};
use crate::client::Client;
use crate::failure::Failure;
use crate::resource::{Shown, facts, target};
use crate::table::printable;

/// Follows the configuration until the stream ends.
pub(crate) async fn run(
    client: &Client,
    command: Watch,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let kinds =
        command.kinds.iter().map(|kind| Ok(target(std::slice::from_ref(kind))?.0.collection().to_owned()));
    let request = WatchRequest {
        resume_token: command.resume.map(|token| token.0).unwrap_or_default(),
        kinds: kinds.collect::<Result<_, Failure>>()?,
    };
    // No deadline: a watch has no end.
    let mut service = WatchServiceClient::new(client.channel());
    let mut stream = service.watch(client.endless(request)).await?.into_inner();
    while let Some(event) = stream.message().await? {
        let is_bookmark = matches!(event.event, Some(Event::Bookmark(_)));
        show(&event, output, out)?;
        out.flush()?;
        if is_bookmark && command.once {
            break;
        }
    }
    Ok(())
}

fn show(event: &WatchEvent, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    match output {
        Output::Table => out.write_all(line(event).as_bytes())?,
        Output::Json => writeln!(out, "{}", document(event)?)?,
        Output::Yaml => {
            let text =
                serde_saphyr::to_string(&document(event)?).map_err(|error| Failure::Encode(error.into()))?;
            write!(out, "---\n{text}")?;
        }
    }
    Ok(())
}

fn line(event: &WatchEvent) -> String {
    let revision = event.revision;
    match &event.event {
        Some(Event::Put(resource)) => format!("{revision:>6}  put     {}\n", printable(facts(resource).0)),
        Some(Event::Delete(name)) => format!("{revision:>6}  delete  {}\n", printable(name)),
        Some(Event::Bookmark(_)) | None => format!("{revision:>6}  --\n"),
    }
}

fn document(event: &WatchEvent) -> Result<Value, Failure> {
    let mut value = match &event.event {
        Some(Event::Put(resource)) => {
            let shown = serde_json::to_value(Shown(resource.clone()));
            json!({ "put": shown.map_err(|error| Failure::Encode(error.into()))? })
        }
        Some(Event::Delete(name)) => json!({ "delete": name }),
        Some(Event::Bookmark(_)) | None => json!({ "bookmark": {} }),
    };
    value["revision"] = event.revision.to_string().into();
    if !event.resume_token.is_empty() {
        value["resumeToken"] = STANDARD.encode(&event.resume_token).into();
    }
    Ok(value)
}

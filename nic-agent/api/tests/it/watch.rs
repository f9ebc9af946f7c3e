//! Watching the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nic_proto::v1 as pb;
use pb::resource::Kind;
use pb::watch_event::Event;
use tonic::{Code, Streaming};

use crate::lab::{Lab, failure, overlay, port, rule};

/// What a client knows that keeps what it is told.
#[derive(Debug, Default)]
struct Known {
    etags: BTreeMap<String, String>,
    token: Vec<u8>,
    bookmarks: usize,
    events: usize,
}

impl Known {
    /// Reads up to the bookmark of a revision.
    async fn read_to(&mut self, stream: &mut Streaming<pb::WatchEvent>, revision: u64) {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
            let event = next.expect("in time").expect("an event").expect("the stream goes on");
            if self.take(event) >= revision {
                return;
            }
        }
    }

    /// Takes an event; returns the revision if it is a bookmark, else 0.
    fn take(&mut self, event: pb::WatchEvent) -> u64 {
        self.events += 1;
        self.token = event.resume_token.to_vec();
        match event.event.expect("of a kind") {
            Event::Put(resource) => {
                let (name, etag) = shown(resource);
                self.etags.insert(name, etag);
                0
            }
            Event::Delete(name) => {
                assert!(self.etags.remove(&name).is_some(), "{name} was not there");
                0
            }
            Event::Bookmark(_) => {
                self.bookmarks += 1;
                event.revision
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.etags.keys().map(String::as_str).collect()
    }
}

/// The name and etag of a resource, which has no status.
fn shown(resource: pb::Resource) -> (String, String) {
    let (name, etag, has_status) = match resource.kind.expect("of a kind") {
        Kind::Port(it) => (it.name, it.etag, it.status.is_some()),
        Kind::FlowRule(it) => (it.name, it.etag, it.status.is_some()),
        Kind::Bridge(it) => (it.name, it.etag, it.status.is_some()),
        Kind::Vtep(it) => (it.name, it.etag, it.status.is_some()),
        Kind::TunnelPeer(it) => (it.name, it.etag, it.status.is_some()),
        Kind::FdbEntry(it) => (it.name, it.etag, it.status.is_some()),
    };
    assert!(!has_status, "{name} has a status");
    (name, etag)
}

async fn delete_port(lab: &Lab, name: &str) {
    let request = pb::DeletePortRequest { name: name.to_owned(), ..pb::DeletePortRequest::default() };
    lab.ports().delete_port(request).await.expect("deleted");
}

#[tokio::test]
async fn a_watch_lists_what_there_is_and_goes_on_with_what_changes() {
    let lab = Lab::with_overlay().await;
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    let mut known = Known::default();
    for _ in 0..7 {
        let event = stream.message().await.expect("an event").expect("the stream goes on");
        assert_eq!((event.revision, event.resume_token.len()), (1, 0));
        assert_eq!(known.take(event), 0);
    }
    known.read_to(&mut stream, 1).await;
    assert_eq!((known.etags.len(), known.events, known.token.is_empty()), (7, 8, false));
    lab.create_port("vm2", "pf0vf1").await.expect("created");
    let put = stream.message().await.expect("an event").expect("the stream goes on");
    assert_eq!((put.revision, put.resume_token.as_ref()), (2, known.token.as_slice()));
    known.take(put);
    known.read_to(&mut stream, 2).await;
    delete_port(&lab, "ports/vm2").await;
    known.read_to(&mut stream, 3).await;
    assert_eq!((known.etags.len(), known.events), (7, 12));
}

#[tokio::test]
async fn a_watch_goes_on_from_a_token_with_all_that_it_missed_and_no_more() {
    let lab = Lab::with_ports().await;
    let mut known = Known::default();
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    known.read_to(&mut stream, 2).await;
    drop(stream);
    lab.create_rule("out", "in_port=vm1,actions=pf0").await.expect("created");
    delete_port_refused(&lab).await;
    let header = pb::ApplyHeader { apply_set: "lab".to_owned(), ..pb::ApplyHeader::default() };
    let resources = vec![Kind::Port(port("ports/vm2", "pf0vf1")), Kind::Port(port("ports/vm1", "pf0vf0"))];
    lab.apply(header, resources).await.expect("applied");
    let mut stream = lab.watch(&known.token, &[]).await.expect("a stream");
    let first = stream.message().await.expect("an event").expect("the stream goes on");
    let half = first.resume_token.to_vec();
    assert_eq!(half, known.token, "half of a revision is no place to go on from");
    known.take(first);
    known.read_to(&mut stream, 4).await;
    assert_eq!(known.names(), ["flowRules/out", "ports/pf0", "ports/vm1", "ports/vm2"]);
    // Two of the list and its bookmark; the rule and the bookmark; two Ports of one revision, likewise:
    // that vm1 is now of an apply set is a change.
    assert_eq!((known.events, known.bookmarks), (3 + 2 + 3, 3));
    let mut stream = lab.watch(&known.token, &[]).await.expect("a stream");
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(quiet.is_err(), "nothing happened since: {quiet:?}");
    lab.create_port("vm3", "pf0vf2").await.expect("created");
    known.read_to(&mut stream, 5).await;
    assert_eq!(known.etags.len(), 5);
}

async fn delete_port_refused(lab: &Lab) {
    let request = pb::DeletePortRequest { name: "ports/vm1".to_owned(), ..pb::DeletePortRequest::default() };
    lab.ports().delete_port(request).await.expect_err("a rule refers to it");
}

#[tokio::test]
async fn only_the_kinds_that_were_asked_for_are_sent_and_a_bookmark_for_every_revision() {
    let lab = Lab::with_overlay().await;
    let mut stream = lab.watch(&[], &["bridges", "tunnelPeers"]).await.expect("a stream");
    let mut known = Known::default();
    known.read_to(&mut stream, 1).await;
    assert_eq!(known.names(), ["bridges/red", "tunnelPeers/far"]);
    lab.create_port("vm2", "pf0vf1").await.expect("created");
    known.read_to(&mut stream, 2).await;
    assert_eq!((known.events, known.bookmarks), (4, 2));
    let found = failure(lab.watch(&[], &["bridges", "Bridge", ""]).await);
    let faults = [1, 2].map(|n| (format!("kinds[{n}]"), "FIELD_MALFORMED".to_owned()));
    assert_eq!(found, (Code::InvalidArgument, "FIELD_MALFORMED".to_owned(), faults.to_vec()));
}

#[tokio::test]
async fn a_token_that_leads_nowhere_is_refused_with_the_reason() {
    let lab = Lab::with_ports().await;
    let mut known = Known::default();
    known.read_to(&mut lab.watch(&[], &[]).await.expect("a stream"), 2).await;
    let old = known.token.clone();
    lab.create_port("vm2", "pf0vf1").await.expect("created");
    let again = lab.reopened().await;
    known.read_to(&mut again.watch(&[], &[]).await.expect("a stream"), 3).await;
    assert_eq!(known.etags.len(), 3);
    // A nic-agent that has just started knows the revisions from its own on.
    assert_eq!(
        failure(again.watch(&old, &[]).await),
        (Code::OutOfRange, "WATCH_COMPACTED".to_owned(), vec![])
    );
    again.watch(&known.token, &[]).await.expect("nothing is missing");
    // This store comes back as it was before revision 4.
    lab.create_port("vm3", "pf0vf2").await.expect("created");
    known.read_to(&mut lab.watch(&known.token, &[]).await.expect("a stream"), 4).await;
    let other_store = (Code::OutOfRange, "WATCH_OTHER_STORE".to_owned(), vec![]);
    assert_eq!(failure(again.watch(&known.token, &[]).await), other_store);
    let stranger = Lab::with_ports().await;
    assert_eq!(failure(stranger.watch(&old, &[]).await), other_store);
    let mut tokens = vec![b"nonsense".to_vec(), old[1..].to_vec(), [&old[..], &[0]].concat()];
    tokens.push([&[9], &old[1..]].concat());
    for token in tokens {
        let fault = ("resumeToken".to_owned(), "RESUME_TOKEN_INVALID".to_owned());
        assert_eq!(failure(lab.watch(&token, &[]).await).2, [fault]);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_comes_to_the_same_by_fewer_steps() {
    let lab = Lab::with_ports().await;
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    // More than transport and store keep for a client that does not read.
    let text = format!("in_port=vm1,{}actions=pf0", " ".repeat(3500));
    let commits = 600;
    let create = |n: usize| lab.create_rule_of(format!("r{n}"), rule("", &text));
    for result in futures::future::join_all((0..commits).map(create)).await {
        result.expect("created");
    }
    let names: BTreeSet<String> = (0..commits).map(|n| format!("flowRules/r{n}")).collect();
    let mut known = Known::default();
    known.read_to(&mut stream, 2 + commits as u64).await;
    let rules = known.etags.keys().filter(|name| name.starts_with("flowRules/")).cloned();
    assert_eq!(rules.collect::<BTreeSet<_>>(), names);
    assert!(known.bookmarks < commits, "{} bookmarks: nothing was skipped", known.bookmarks);
    lab.create_port("vm9", "pf0vf9").await.expect("created");
    known.read_to(&mut stream, 3 + commits as u64).await;
    assert_eq!(known.etags.len(), 3 + commits);
}

#[tokio::test]
async fn what_was_deleted_while_a_slow_client_did_not_read_is_gone_for_it_too() {
    let lab = Lab::with_ports().await;
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    let mut known = Known::default();
    known.read_to(&mut stream, 2).await;
    let text = format!("in_port=vm1,{}actions=pf0", " ".repeat(3500));
    let header = pb::ApplyHeader { apply_set: "lab".to_owned(), prune: true, ..pb::ApplyHeader::default() };
    let mut revision = 2;
    // Rule by rule: each Apply makes the next and deletes the one before.
    for n in 0..600 {
        let one = Kind::FlowRule(rule(&format!("flowRules/r{n}"), &text));
        revision = lab.apply(header.clone(), vec![one]).await.expect("applied").revision;
    }
    known.read_to(&mut stream, revision).await;
    assert_eq!(known.names(), ["flowRules/r599", "ports/pf0", "ports/vm1"]);
    assert!(known.bookmarks < 600, "{} bookmarks: nothing was skipped", known.bookmarks);
}

#[tokio::test]
async fn every_kind_is_sent_with_what_a_list_would_show_but_for_the_status() {
    let lab = Lab::with_overlay().await;
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    let mut kinds = BTreeSet::new();
    while let Some(Event::Put(resource)) = stream.message().await.expect("an event").and_then(|e| e.event) {
        let json = serde_json::to_value(&resource).expect("JSON");
        let (kind, resource) = json.as_object().and_then(|one| one.iter().next()).expect("one kind");
        assert!(resource["spec"].is_object() && resource["metadata"].is_object(), "{resource}");
        kinds.insert(kind.clone());
    }
    assert_eq!(kinds.len(), overlay().len() - 1);
}

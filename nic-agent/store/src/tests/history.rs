//! What happened since a revision.

use super::*;
use crate::history::{History, MAX_CHANGES, MAX_COMMITS};

async fn renamed(store: &Store, n: u64) -> Revision {
    let device = format!("pf0vf{}", n % 1024);
    store.submit(at(n, Operation::Update(port("a", &device))), None).await.expect("valid").revision
}

fn revisions(commits: &[Arc<Commit>]) -> Vec<(u64, u64)> {
    commits.iter().map(|commit| (commit.before.revision().0, commit.after.revision().0)).collect()
}

#[tokio::test]
async fn changes_since_a_revision_lead_from_it_to_the_current_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open(&path).expect("a new store");
    assert!(store.changes_since(Revision(0)).expect("kept").is_empty());
    store.submit(create(port("a", "p0")), None).await.expect("valid");
    renamed(&store, 1).await;
    renamed(&store, 2).await;
    assert_eq!(revisions(&store.changes_since(Revision(0)).expect("kept")), [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(revisions(&store.changes_since(Revision(2)).expect("kept")), [(2, 3)]);
    assert!(store.changes_since(Revision(3)).expect("kept").is_empty());
    let future = Compacted { asked: Revision(4), oldest: Revision(0) };
    assert_eq!(store.changes_since(Revision(4)).expect_err("not there yet"), future);
    // What led to the revision at the start is forgotten; from there on it is kept again.
    drop(store);
    let store = Store::open(&path).expect("opens");
    assert_eq!(
        store.changes_since(Revision(2)).expect_err("forgotten"),
        Compacted { asked: Revision(2), oldest: Revision(3) }
    );
    renamed(&store, 4).await;
    assert_eq!(revisions(&store.changes_since(Revision(3)).expect("kept")), [(3, 4)]);
}

#[tokio::test]
async fn a_watcher_that_subscribes_first_misses_nothing_and_hears_nothing_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
    store.submit(create(port("a", "p0")), None).await.expect("valid");
    for n in 0..20 {
        renamed(&store, n).await;
        let mut subscription = store.subscribe();
        renamed(&store, 100 + n).await;
        let mut heard = store.changes_since(Revision(1)).expect("kept");
        heard.retain(|commit| commit.after.revision() <= subscription.state().revision());
        let Some(Event::Commit(next)) = subscription.next().await else { panic!("a commit") };
        heard.push(next);
        let last = store.state().revision().0;
        assert_eq!(revisions(&heard), (1..last).map(|n| (n, n + 1)).collect::<Vec<_>>());
    }
}

/// A commit of an empty state with so many changes.
fn commit(revision: u64, changes: usize) -> Arc<Commit> {
    let state = |revision| Arc::new(State::restore(Revision(revision), 0, []));
    let change = nic_model::Change { before: None, after: None };
    Arc::new(Commit {
        before: state(revision - 1),
        after: state(revision),
        changes: vec![change; changes].into(),
        call: None,
    })
}

#[test]
fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
    let mut history = History::new(Revision(7));
    for revision in 8..=7 + MAX_COMMITS as u64 {
        history.keep(commit(revision, 1));
    }
    assert_eq!(history.since(Revision(7)).expect("kept").len(), MAX_COMMITS);
    history.keep(commit(8 + MAX_COMMITS as u64, 1));
    assert_eq!(history.since(Revision(7)).expect_err("gone").oldest, Revision(8));
    assert_eq!(history.since(Revision(8)).expect("kept").len(), MAX_COMMITS);
    // The last one is kept however large it is.
    history.keep(commit(9 + MAX_COMMITS as u64, MAX_CHANGES + 1));
    assert_eq!(history.since(Revision(8 + MAX_COMMITS as u64)).expect("kept").len(), 1);
    assert!(history.since(Revision(7 + MAX_COMMITS as u64)).is_err());
}

#[tokio::test]
async fn a_revision_knows_the_call_that_it_came_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store.redb")).expect("a store");
    let call = |name: &str| Some(name.parse::<nic_policy::CallId>().expect("an id"));
    let ports = [("a", "p0", call("one")), ("b", "p1", None), ("c", "pf0vf0", call("two"))];
    for (id, device, call) in ports {
        store.submit_for(call, create(port(id, device)), None).await.expect("valid");
    }
    // Two revisions of one call, and a transaction that makes none.
    for device in ["pf0vf1", "pf0vf2", "pf0vf2"] {
        let update = at(9, Operation::Update(port("a", device)));
        store.submit_for(call("three"), update, None).await.expect("valid");
    }
    let calls = |after: u64, to: u64, limit: usize| {
        let (calls, more) = store.calls(Revision(after), Revision(to), limit);
        (calls.iter().map(|call| call.as_str().to_owned()).collect::<Vec<_>>().join(" "), more)
    };
    assert_eq!(store.state().revision(), Revision(5));
    assert_eq!(calls(0, 5, 9), ("three two one".to_owned(), 0));
    assert_eq!(calls(1, 3, 9), ("two".to_owned(), 0));
    assert_eq!(calls(1, 2, 9), (String::new(), 0));
    assert_eq!(calls(0, 5, 1), ("three".to_owned(), 2));
    // What a run knew goes with it.
    drop(store);
    let store = Store::open(&directory.path().join("store.redb")).expect("a store");
    assert_eq!(store.calls(Revision(0), Revision(5), 9), (Vec::new(), 0));
}

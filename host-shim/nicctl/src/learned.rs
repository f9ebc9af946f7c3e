//! `fdb`, `fdb flush` and `neighbors`: what the datapath learned from packets.

use std::io::Write;

use nic_proto::v1::learned_fdb::Place;
use nic_proto::v1::learned_neighbor::{Network, State};
use nic_proto::v1::learned_service_client::LearnedServiceClient;
use nic_proto::v1::{
    FlushFdbRequest, LearnedFdb, LearnedNeighbor, ListFdbRequest, ListFdbResponse, ListNeighborsRequest,
    ListNeighborsResponse,
};

use crate::arguments::{Fdb, FdbCommand, Output};
use crate::client::Client;
use crate::failure::Failure;
use crate::files::Kind;
use crate::flows::time;
use crate::output;
use crate::resource::{full_name, target};
use crate::table::{or_dash, table};

/// Shows or flushes MAC addresses.
pub(crate) async fn fdb(
    client: &Client,
    command: Fdb,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut service = LearnedServiceClient::new(client.channel());
    let named = |bridge: Option<String>| bridge.map(|name| full_name(Kind::Bridge, &name)).transpose();
    if let Some(FdbCommand::Flush { bridge }) = command.command {
        let request = FlushFdbRequest { bridge: named(bridge)?.unwrap_or_default() };
        let response = service.flush_fdb(client.request(request)).await?.into_inner();
        return output::write(out, output, &response, |response| {
            format!("{} addresses forgotten\n", response.flushed)
        });
    }
    let bridge = named(command.bridge)?.unwrap_or_default();
    let mut all = ListFdbResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = ListFdbRequest { bridge: bridge.clone(), page_size: 0, page_token };
        let page = service.list_fdb(client.request(request)).await?.into_inner();
        all.entries.extend(page.entries);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    output::write(out, output, &all, |all| fdb_table(&all.entries))
}

fn fdb_table(entries: &[LearnedFdb]) -> String {
    if entries.is_empty() {
        return "No addresses\n".into();
    }
    let rows = entries.iter().map(|entry| {
        let place = match &entry.place {
            Some(Place::Port(name) | Place::TunnelPeer(name)) => name.clone(),
            None => "-".into(),
        };
        let from = if entry.fdb_entry.is_empty() { "learned".into() } else { entry.fdb_entry.clone() };
        vec![or_dash(&entry.bridge), entry.mac_address.clone(), place, from, time(entry.idle.as_ref())]
    });
    table(&["BRIDGE", "MAC ADDRESS", "PLACE", "FROM", "IDLE>"], rows)
}

/// Shows neighbours.
pub(crate) async fn neighbors(
    client: &Client,
    network: Option<String>,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let network = match network {
        None => String::new(),
        Some(name) => match target(&[name])? {
            (Kind::Bridge | Kind::Vtep, Some(name)) => name,
            _ => return Err(Failure::Usage("--network is bridges/ID or vteps/ID".into())),
        },
    };
    let mut service = LearnedServiceClient::new(client.channel());
    let mut all = ListNeighborsResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = ListNeighborsRequest { network: network.clone(), page_size: 0, page_token };
        let page = service.list_neighbors(client.request(request)).await?.into_inner();
        all.neighbors.extend(page.neighbors);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    output::write(out, output, &all, |all| neighbors_table(&all.neighbors))
}

fn neighbors_table(neighbors: &[LearnedNeighbor]) -> String {
    if neighbors.is_empty() {
        return "No neighbors\n".into();
    }
    let rows = neighbors.iter().map(|neighbor| {
        let network = match &neighbor.network {
            Some(Network::Vtep(name) | Network::Bridge(name)) => or_dash(name),
            None => "-".into(),
        };
        let state = match neighbor.state() {
            State::Unspecified => "-",
            State::Incomplete => "incomplete",
            State::Reachable => "reachable",
            State::Probe => "probe",
            State::Failed => "failed",
        };
        let mac = or_dash(&neighbor.mac_address);
        vec![network, neighbor.address.clone(), mac, state.into(), time(neighbor.age.as_ref())]
    });
    table(&["NETWORK", "ADDRESS", "MAC ADDRESS", "STATE", "AGE>"], rows)
}

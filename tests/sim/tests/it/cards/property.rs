//! Cards, stations and faults at random; the underlay says what must hold.

use super::underlay::World;

/// Worlds of one run. `NIC_AGENT_WORLDS` asks for more, `NIC_AGENT_SEED` says from which seed on.
const WORLDS: u64 = 40;
/// Seeds that failed once.
const FAILED_ONCE: &[u64] = &[];
const STEPS: u64 = 400;

#[test]
fn frames_stay_in_their_network_and_after_a_rest_go_where_the_station_is() {
    let number = |name: &str, default| {
        let given = std::env::var(name).ok();
        given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (worlds, first) = (number("NIC_AGENT_WORLDS", WORLDS), number("NIC_AGENT_SEED", 0));
    let (mut by_rules, mut moved, mut solicited) = (0, 0, 0);
    for seed in FAILED_ONCE.iter().copied().chain((0..worlds).map(|n| first.wrapping_add(n))) {
        // Shown if the test fails.
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..2 {
            for _ in 0..STEPS {
                world.step();
            }
            world.quiesce();
            world.check();
            for _ in 0..5 {
                world.check_move();
            }
        }
        match seed % 4 {
            0 => world.check_readdressed_unheard(),
            1 | 2 => world.check_readdressed(),
            _ => {}
        }
        world.end();
        for node in &world.nodes {
            let stats = node.worker.stats();
            by_rules += node.by_rules;
            moved += stats.fdb_moved;
            solicited += stats.solicited;
        }
    }
    // The generator must reach the card, moves and the search for next hops.
    assert!(
        worlds < WORLDS || (by_rules > 500 && moved > 50 && solicited > 50),
        "{by_rules} {moved} {solicited}"
    );
}

//! The engine under every fault, on `ENGRAM_SIM_SEEDS` seeds (100 unless set). A failure names the seed and the fault;
//! `cargo run -p engram-sim -- <scenario> <seeds> <first>` runs more, or one again.

use engram_sim::for_every_seed;

fn seeds() -> u64 {
    match std::env::var("ENGRAM_SIM_SEEDS") {
        Ok(text) => text.parse().expect("ENGRAM_SIM_SEEDS is a number"),
        Err(_) => 100,
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash() {
    for_every_seed(seeds(), engram_sim::crashes);
}

#[test]
fn without_syncs_a_crash_leaves_a_state_that_was() {
    for_every_seed(seeds(), engram_sim::unsynced);
}

#[test]
fn a_failed_sync_stops_writes_until_reopened() {
    for_every_seed(seeds(), engram_sim::syncs);
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    for_every_seed(seeds(), engram_sim::full_disks);
}

#[test]
fn a_flipped_bit_is_reported_and_never_returned() {
    for_every_seed(seeds(), engram_sim::bits);
}

#[test]
fn a_backup_that_is_listed_comes_back_as_it_was() {
    for_every_seed(seeds(), engram_sim::backups);
}

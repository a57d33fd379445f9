//! Names for containers that were given none: a quality and a thing of the yard.

use rand::seq::IndexedRandom;

const QUALITIES: &[&str] = &[
    "able", "agile", "ample", "amber", "azure", "bold", "brave", "brisk", "bright", "calm", "candid", "clear",
    "clever", "cosy", "crisp", "daring", "deft", "eager", "early", "easy", "even", "fair", "fast", "firm", "fleet",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "handy", "happy", "hardy", "honest",
    "humble", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid", "lucky", "merry", "mild", "modest", "neat",
    "nimble", "noble", "patient", "plain", "proud", "quick", "quiet", "rapid", "ready", "robust", "sage", "sharp",
    "silent", "simple", "smooth", "snug", "sober", "solid", "sound", "spry", "stable", "steady", "still", "stout",
    "strong", "sturdy", "subtle", "sunny", "sure", "swift", "tidy", "true", "trusty", "upright", "vivid", "warm",
    "wise", "witty", "young", "zesty",
];

const THINGS: &[&str] = &[
    "anchor", "anvil", "arch", "barge", "basin", "beacon", "beam", "berth", "bollard", "boom", "bridge", "buoy",
    "cable", "canal", "capstan", "cargo", "chain", "channel", "cleat", "clipper", "coast", "compass", "convoy",
    "crane", "crate", "current", "davit", "deck", "derrick", "dock", "ferry", "fleet", "flume", "galley", "gantry",
    "gauge", "girder", "grapple", "gull", "harbor", "hatch", "haven", "helm", "hoist", "hook", "hull", "jetty", "keel",
    "ketch", "lantern", "lever", "lighter", "locker", "lugger", "marina", "mast", "moor", "oar", "pier", "pilot",
    "pontoon", "port", "prow", "pulley", "quay", "raft", "rail", "reef", "rigger", "rivet", "rope", "rudder", "sail",
    "schooner", "sextant", "shoal", "sling", "slipway", "sloop", "spar", "spreader", "tackle", "tender", "tide",
    "tiller", "trolley", "truss", "tug", "wharf", "winch",
];

/// `quality_thing`; from the third try on with a number, so that a crowded machine finds a free one.
pub fn random(attempt: u32) -> String {
    let mut rng = rand::rng();
    let quality = QUALITIES.choose(&mut rng).copied().unwrap_or("plain");
    let thing = THINGS.choose(&mut rng).copied().unwrap_or("crate");
    match attempt {
        0 | 1 => format!("{quality}_{thing}"),
        _ => format!("{quality}_{thing}{}", rand::random_range(1..100_000)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_obey_the_rule() {
        for attempt in 0..200 {
            let name = super::random(attempt);
            assert!(gantry_core::container::is_container_name(&name), "{name}");
        }
    }
}

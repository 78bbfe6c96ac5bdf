//! What the witness has to say: how much it saw, and what is remarkable of it.

use std::collections::BTreeMap;

use flowmon_common::{Oddity, hygiene::Hygiene};
use serde::Serialize;

use super::Difference;

/// Different addresses and ports that an endpoint may ask for connections in an interval before
/// that is remarkable.
pub const MANY_TARGETS: u64 = 256;

/// Something remarkable about one interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// Its name.
    pub interface: String,
    /// Frames that one of the two counts has and the other has not.
    #[serde(skip_serializing_if = "Difference::is_none")]
    pub difference: Difference,
    /// Odd frames that the endpoint sent, by [`Oddity`]; only those there were.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hygiene: BTreeMap<&'static str, u64>,
    /// [`MANY_TARGETS`] or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
}

/// An endpoint that asked many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// Different addresses and ports in one interval, about.
    pub targets: u64,
    /// Connections it asked for.
    pub syns: u64,
}

/// The summary's part about the witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// Its count, beside that of the flow programs.
    pub witness: WitnessCount,
    /// Odd frames, by [`Oddity`]: all that were looked for.
    pub hygiene: BTreeMap<&'static str, u64>,
    /// Connections that endpoints asked for.
    pub connections: Connections,
    /// What is remarkable, by interface; of many, the first.
    pub findings: Vec<Finding>,
    /// Interfaces with findings beyond those.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_findings: u64,
}

/// What the witness counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WitnessCount {
    /// How it was attached.
    pub mode: &'static str,
    /// Interfaces that had one, at one time or another.
    pub interfaces: u64,
    /// Interfaces that should have had one.
    pub failed: u64,
    /// Frames that endpoints sent; a GSO super-packet is one.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What of it never came to the flow programs.
    pub missed: Amount,
    /// What came to them and was never seen by the witness: it was put there by somebody else.
    pub extra: Amount,
}

/// Frames and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amount {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Connections that endpoints asked for, as the witness saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Connections {
    /// TCP segments with SYN and no ACK.
    pub syns: u64,
    /// Most different addresses and ports that one endpoint asked in one interval, about.
    pub most_targets: u64,
}

impl Finding {
    /// Is there nothing remarkable?
    pub fn is_none(&self) -> bool {
        self.difference.is_none() && self.hygiene.is_empty() && self.scan.is_none()
    }
}

impl Witnessed {
    /// Nothing yet, of a witness that is attached in this way.
    pub fn new(mode: &'static str) -> Self {
        let judged = Oddity::ALL
            .into_iter()
            .filter(|&oddity| oddity != Oddity::SpoofedSource);
        Self {
            witness: WitnessCount {
                mode,
                ..WitnessCount::default()
            },
            hygiene: judged.map(|oddity| (oddity.label(), 0)).collect(),
            connections: Connections::default(),
            findings: Vec::new(),
            more_findings: 0,
        }
    }

    /// Adds a difference on the side where it belongs.
    pub fn add_difference(&mut self, difference: Difference) {
        let WitnessCount { missed, extra, .. } = &mut self.witness;
        for (value, missed, extra) in [
            (difference.frames, &mut missed.frames, &mut extra.frames),
            (difference.bytes, &mut missed.bytes, &mut extra.bytes),
        ] {
            *(if value > 0 { missed } else { extra }) += value.unsigned_abs();
        }
    }
}

/// How many odd frames more there are than there were, by reason, where there are.
pub fn odd_frames(now: &Hygiene, before: &Hygiene) -> BTreeMap<&'static str, u64> {
    std::iter::zip(now.frames, before.frames)
        .zip(Oddity::ALL)
        .map(|((now, before), oddity)| (oddity.label(), now.saturating_sub(before)))
        .filter(|&(_, frames)| frames > 0)
        .collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

//! Did all that crossed an interface pass the hook? What did not is in no total.

use flowmon_common::{Crossed, Totals, Traffic};
use serde::Serialize;

/// Which way, seen from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// What it sent.
    Tx,
    /// What it received.
    Rx,
}

impl Way {
    /// As in records and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
        }
    }
}

/// Packets that went one way past an interface without passing the hook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bypass {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Which way.
    pub way: Way,
    /// The part that passed the hook: less than 1.
    pub ratio: f64,
    /// Socket buffers that did not.
    pub buffers: u64,
}

/// How much of the traffic passed the hooks, of all interfaces that could be compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage {
    /// How many could.
    pub compared: usize,
    /// Those with a bypass, by name.
    pub bypassed: Vec<Bypass>,
}

impl Coverage {
    /// The smallest part, one way, of any of them; none where nothing could be compared.
    pub fn ratio(&self) -> Option<f64> {
        let lowest = self.bypassed.iter().map(|bypass| bypass.ratio);
        (self.compared > 0).then(|| lowest.fold(1.0, f64::min))
    }
}

/// The ways that have a bypass, with the part that passed the hook and the number of buffers that
/// did not. `counted` is what the endpoint's own end of the attachment counted in the same time.
pub fn bypassed(crossed: &Crossed, counted: &Totals) -> impl Iterator<Item = (Way, f64, u64)> {
    let Crossed { wire, buffers } = *crossed;
    let ways = [
        (Way::Tx, wire.tx, buffers.tx, counted.tx),
        (Way::Rx, wire.rx, buffers.rx, counted.rx),
    ];
    ways.into_iter()
        .filter_map(|(way, wire, buffers, counted)| {
            let missed = missed(wire, buffers, counted);
            let ratio = buffers.packets as f64 / counted.packets as f64;
            (missed > 0).then_some((way, ratio, missed))
        })
}

/// How many buffers more were counted than passed the hook.
///
/// Between the hook and the far end a buffer may be cut into segments, or have been merged from
/// some (GRO). Then the bytes say so: they differ by no more than the headers of the segments that a
/// buffer hides.
fn missed(wire: Traffic, buffers: Traffic, counted: Traffic) -> u64 {
    let missing = counted.packets.saturating_sub(buffers.packets);
    let hidden = wire.packets.saturating_sub(buffers.packets);
    let bytes = u128::from(counted.bytes.saturating_sub(buffers.bytes));
    let headers = u128::from(wire.bytes.saturating_sub(buffers.bytes));
    // Headers differ from flow to flow: half as long again as the mean is still one.
    let is_cut =
        missing <= hidden && bytes * u128::from(hidden) * 2 <= headers * u128::from(missing) * 3;
    if is_cut { 0 } else { missing }
}

#[cfg(test)]
mod tests {
    use super::{Way, bypassed};
    use flowmon_common::{Crossed, Totals, Traffic};

    const fn traffic(packets: u64, bytes: u64) -> Traffic {
        Traffic { packets, bytes }
    }

    fn found(wire: Traffic, buffers: Traffic, counted: Traffic) -> Vec<(Way, f64, u64)> {
        let one_way = |rx| Totals {
            rx,
            ..Totals::default()
        };
        let crossed = Crossed {
            wire: one_way(wire),
            buffers: one_way(buffers),
        };
        bypassed(&crossed, &one_way(counted)).collect()
    }

    #[test]
    fn what_passed_is_no_bypass() {
        let small = traffic(100, 6600);
        assert_eq!(found(small, small, small), []);
        assert_eq!(
            found(small, small, traffic(90, 5000)),
            [],
            "some were dropped"
        );
        assert_eq!(found(small, small, Traffic::default()), []);
    }

    #[test]
    fn what_did_not_pass_is() {
        let (none, small) = (Traffic::default(), traffic(100, 6600));
        assert_eq!(found(none, none, small), [(Way::Rx, 0.0, 100)]);
        assert_eq!(
            found(small, small, traffic(400, 26_400)),
            [(Way::Rx, 0.25, 300)]
        );
        // Beside super-packets: 10 buffers of 45 segments, 5 of them not seen.
        let (wire, buffers) = (traffic(225, 225 * 1514), traffic(5, 5 * 65_226));
        assert_eq!(
            found(wire, buffers, traffic(10, 10 * 65_226)),
            [(Way::Rx, 0.5, 5)]
        );
    }

    #[test]
    fn what_was_cut_or_merged_is_no_bypass() {
        // 10 buffers of 45 segments of 1448 bytes behind 66 of headers; all cut, or half of them.
        let (wire, buffers) = (traffic(450, 450 * 1514), traffic(10, 10 * 65_226));
        assert_eq!(found(wire, buffers, wire), []);
        let half = traffic(225 + 5, 225 * 1514 + 5 * 65_226);
        assert_eq!(found(wire, buffers, half), []);
        // And a bypass beside it.
        let more = traffic(450 + 100, 450 * 1514 + 100 * 1514);
        assert_eq!(found(wire, buffers, more).len(), 1);
    }
}

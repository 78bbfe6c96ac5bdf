//! Every map. Userspace names them in `flowmon/src/kernel/maps.rs`.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use flowmon_common::{
    Clocks, Counter, Crossed, Ended, Endpoint, FlowKey, FlowStats, FragmentKey, FragmentOwner,
    Ledger, Owned, Scans, Targets, Witness,
    hygiene::Hygiene,
    latency::Latencies,
    settings::{EVENTS_BYTES, MAX_ENDPOINTS, MAX_FLOWS, MAX_FRAGMENTS, MAX_OWNED},
};

/// The detail: one entry per flow. When it is full the least recently used entry goes, so it is
/// never the truth about how much there was.
#[map]
pub(crate) static FLOWS: LruHashMap<FlowKey, FlowStats> =
    LruHashMap::with_max_entries(MAX_FLOWS, 0);

/// The truth: what crossed each interface, whatever became of the detail.
#[map]
pub(crate) static TOTALS: PerCpuArray<Crossed> =
    PerCpuArray::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// Round-trip times of each interface, in its row. Shared by the CPUs: samples are rare.
#[map]
pub(crate) static LATENCIES: Array<Latencies> = Array::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// The kernel's clocks, when `flowmon_clock` last ran.
#[map]
pub(crate) static CLOCKS: Array<Clocks> = Array::with_max_entries(1, 0);

/// What could not be attributed, by cause.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// The watched interfaces, by ifindex.
#[map]
pub(crate) static ENDPOINTS: HashMap<u32, Endpoint> =
    HashMap::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// What XDP saw of each interface, in its row.
#[map]
pub(crate) static WITNESSES: PerCpuArray<Witness> =
    PerCpuArray::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// What was odd about it. Shared by the CPUs: there is little of it.
#[map]
pub(crate) static HYGIENE: Array<Hygiene> = Array::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// Whom each interface's endpoint asked for connections: two rows each, which take turns.
#[map]
pub(crate) static TARGETS: Array<Targets> = Array::with_max_entries(MAX_ENDPOINTS as u32 * 2, 0);

/// Whose turn it is.
#[map]
pub(crate) static SCANS: Array<Scans> = Array::with_max_entries(1, 0);

/// The addresses that are known to be somebody's. Only userspace writes it, so it takes no memory
/// before it has to.
#[map]
pub(crate) static OWNED: HashMap<Owned, u32> =
    HashMap::with_max_entries(MAX_OWNED, BPF_F_NO_PREALLOC);

/// First fragments, for the others of their datagram.
#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentOwner> =
    LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);

/// New flows, for userspace to know at once.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// Userspace's own account of each interface, in its row, for who comes after it.
#[map]
static ENDED: Array<Ended> = Array::with_max_entries(MAX_ENDPOINTS as u32, 0);

/// And of those that left.
#[map]
static LEDGER: Array<Ledger> = Array::with_max_entries(1, 0);

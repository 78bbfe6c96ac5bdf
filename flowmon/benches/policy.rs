//! What the judgement costs: `cargo bench -p flowmon --bench policy`.
//!
//! The yardstick is the evaluator of the tests that indexes nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a bench may fail by panicking, and says what it measures"
)]

#[path = "policy/cluster.rs"]
mod cluster;
#[path = "../tests/policy/naive/mod.rs"]
mod naive;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowmon::policy::{Connection, Ruleset, Settings};

use cluster::Cluster;
use naive::Naive;

/// 10,000 pods in 500 namespaces, 2,000 policies.
const BIG: Cluster = Cluster {
    namespaces: 500,
    pods_each: 20,
    policies_each: 4,
};

/// So many connections that they don't stay in the first cache.
const CONNECTIONS: usize = 4096;

fn compile(criterion: &mut Criterion) {
    let (policies, inventory) = (BIG.policies(), BIG.inventory());
    let before = resident_kib();
    let ruleset = Ruleset::compile(&policies, &inventory, Settings::default());
    let kib = resident_kib().saturating_sub(before);
    eprintln!("a ruleset of the big cluster takes {kib} KiB, besides policies and inventory");
    drop(ruleset);
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("10,000 pods, 500 namespaces, 2,000 policies", |bench| {
        bench.iter_with_large_drop(|| Ruleset::compile(&policies, &inventory, Settings::default()));
    });
    group.finish();
}

fn pod_changed(criterion: &mut Criterion) {
    let inventory = BIG.inventory();
    let mut ruleset = Ruleset::compile(&BIG.policies(), &inventory, Settings::default());
    let (id, pod) = inventory.pods.iter().nth(5_000).unwrap();
    let mut group = criterion.benchmark_group("pod changed");
    group.bench_function("goes and comes, labels like others'", |bench| {
        bench.iter(|| {
            ruleset.pod_changed(id, None);
            ruleset.pod_changed(id, Some(pod));
        });
    });
    let mut alone = pod.clone();
    alone.labels.insert("only".into(), "mine".into());
    group.bench_function("goes and comes, labels like nobody's", |bench| {
        bench.iter(|| {
            ruleset.pod_changed(id, None);
            ruleset.pod_changed(id, Some(&alone));
        });
    });
    group.finish();
}

fn judge_all(ruleset: &Ruleset, connections: &[Connection]) {
    for connection in connections {
        black_box(ruleset.judge(black_box(connection)));
    }
}

fn judge(criterion: &mut Criterion) {
    let inventory = BIG.inventory();
    let ruleset = Ruleset::compile(&BIG.policies(), &inventory, Settings::default());
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    for (name, connections) in BIG.connections(CONNECTIONS) {
        group.bench_function(name, |bench| {
            bench.iter(|| judge_all(&ruleset, &connections));
        });
    }
    group.finish();
}

/// The same pods and policies, and ever more of others.
fn flat(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge in one namespace");
    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    let mut asked = BIG;
    asked.namespaces = 1;
    let (_, connections) = asked.connections(CONNECTIONS).swap_remove(0);
    for namespaces in [1, 10, 100, 500, 2_500] {
        let cluster = Cluster { namespaces, ..BIG };
        let policies = cluster.policies();
        let ruleset = Ruleset::compile(&policies, &cluster.inventory(), Settings::default());
        let name = format!("of {namespaces}, {} policies", policies.policies.len());
        group.bench_function(name, |bench| {
            bench.iter(|| judge_all(&ruleset, &connections));
        });
    }
    group.finish();
}

fn yardstick(criterion: &mut Criterion) {
    let (policies, inventory) = (BIG.policies(), BIG.inventory());
    let naive = Naive {
        policies: &policies,
        inventory: &inventory,
        settings: Settings::default(),
    };
    let ruleset = Ruleset::compile(&policies, &inventory, Settings::default());
    let (_, connections) = BIG.connections(CONNECTIONS).swap_remove(0);
    let mut group = criterion.benchmark_group("yardstick");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1));
    let mut next = connections.iter().cycle();
    group.bench_function("naive, pod to pod", |bench| {
        bench.iter_batched(
            || next.next().unwrap(),
            |connection| naive.judge(connection),
            BatchSize::SmallInput,
        );
    });
    for connection in &connections[..50] {
        assert_eq!(naive.judge(connection), ruleset.judge(connection));
    }
    group.finish();
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

criterion_group!(benches, compile, pod_changed, judge, flat, yardstick);
criterion_main!(benches);

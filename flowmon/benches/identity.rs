//! What it costs to ask who is who, as each report of a flow does once: `cargo bench -p flowmon --bench
//! identity`. A node with 250 pods in a cluster of 20,000. The floor is one look-up in one map of these
//! addresses, and a look at who that is.

use std::{collections::HashMap, hint::black_box, net::IpAddr, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use flowmon::{
    identity::{Known, Registry},
    model::{EndpointKind, Identity, IdentitySource},
};
use foldhash::fast::RandomState;

const NEAR: u32 = 250;
const FAR: u32 = 20_000;
const SECOND: u64 = 1_000_000_000;

fn near(number: u32) -> IpAddr {
    IpAddr::from((0x0a01_0000 + number).to_be_bytes())
}

fn far(number: u32) -> IpAddr {
    IpAddr::from((0x0a02_0000 + number).to_be_bytes())
}

fn pod(source: IdentitySource, number: u32, address: IpAddr) -> Known {
    let mut known = Known::new(EndpointKind::Pod, source);
    known.identity.namespace = Some("shop".into());
    known.identity.name = Some(format!("{}-{number}", source.label()).into());
    known.addresses = vec![address];
    known
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for number in 0..NEAR {
        registry.appeared(number, &format!("veth{number}"));
    }
    let local = |number| Known {
        interface: Some(format!("veth{number}").into()),
        ..pod(IdentitySource::Cni, number, near(number))
    };
    registry.learn(IdentitySource::Cni, (0..NEAR).map(local).collect(), SECOND);
    let remote = |number| pod(IdentitySource::Inventory, number, far(number));
    let all = (0..FAR).map(remote).collect();
    registry.learn(IdentitySource::Inventory, all, SECOND);
    registry
}

fn lookups(criterion: &mut Criterion) {
    let registry = registry();
    let mut number = 0_u32;
    // Not one after the other: memory is part of the price.
    let mut next = |of: u32| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number % of
    };
    let one = |number| (far(number), Arc::new(Identity::nameless(EndpointKind::Pod)));
    let floor: HashMap<IpAddr, Arc<Identity>, RandomState> = (0..FAR).map(one).collect();
    criterion.bench_function("the floor, an address of 20,000", |bencher| {
        bencher.iter(|| black_box(floor.get(&far(next(FAR))).map(|who| who.kind)));
    });
    criterion.bench_function("who is behind an interface", |bencher| {
        bencher.iter(|| black_box(registry.behind(next(NEAR)).is_some()));
    });
    let mut holder =
        |name: &str, address: &dyn Fn(u32) -> IpAddr, of: u32, expected: EndpointKind| {
            criterion.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let holder = registry.holder(&address(next(of)), 2 * SECOND, 3 * SECOND);
                    assert_eq!(black_box(holder).kind, expected);
                });
            });
        };
    holder(
        "who has an address, a pod of this node",
        &near,
        NEAR,
        EndpointKind::Pod,
    );
    holder(
        "who has an address, a pod of another",
        &far,
        FAR,
        EndpointKind::Pod,
    );
    let outside = |number: u32| IpAddr::from((0x0800_0000 + number).to_be_bytes());
    holder(
        "who has an address, nobody known",
        &outside,
        FAR,
        EndpointKind::External,
    );
}

criterion_group!(benches, lookups);
criterion_main!(benches);

//! Records say who: behind each veth, and at the other end.

mod cni;
mod containerd;
mod docker;
mod namespaces;
mod podman;

use std::error::Error;

type TestResult = Result<(), Box<dyn Error>>;

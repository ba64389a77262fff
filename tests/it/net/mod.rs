//! The network, against small servers on this machine: the Hugging Face hub and OCI registries.

mod hub;
mod oci;
mod server;

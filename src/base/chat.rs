//! The base's own chat template, as the ecosystem writes them, with fuel and memory bounded.

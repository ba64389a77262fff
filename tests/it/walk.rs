//! Tests of walk.

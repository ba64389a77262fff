//! Tests of license.

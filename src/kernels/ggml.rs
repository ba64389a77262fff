//! Blocks of llama.cpp's formats as f32, by candle's readers of them.

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use std::borrow::Cow;

/// The blocks of one of ggml's types; `None` for a type that is not read.
pub fn blocks(name: &str) -> Option<GgmlDType> {
    Some(match name {
        "Q4_0" => GgmlDType::Q4_0,
        "Q4_1" => GgmlDType::Q4_1,
        "Q5_0" => GgmlDType::Q5_0,
        "Q5_1" => GgmlDType::Q5_1,
        "Q8_0" => GgmlDType::Q8_0,
        "Q2_K" => GgmlDType::Q2K,
        "Q3_K" => GgmlDType::Q3K,
        "Q4_K" => GgmlDType::Q4K,
        "Q5_K" => GgmlDType::Q5K,
        "Q6_K" => GgmlDType::Q6K,
        _ => return None,
    })
}

/// Whole blocks as f32.
///
/// # Panics
/// When `bytes` are not as many blocks as `out` has numbers for.
pub(super) fn read(kind: GgmlDType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len() * kind.block_size(), out.len() * kind.type_size(), "blocks and numbers differ in count");
    // candle reads blocks in place and asks that they be aligned, which a mapped file does not promise
    let mut aligned = vec![0u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..bytes.len()].copy_from_slice(bytes);
    let blocks = kind.from_data(Cow::Borrowed(&bytemuck::cast_slice(&aligned)[..bytes.len()]));
    match blocks.dequantize(out.len()) {
        Ok(CpuStorage::F32(values)) => out.copy_from_slice(&values),
        other => unreachable!("blocks become f32, not {other:?}"),
    }
}

/// Numbers as blocks.
#[cfg(test)]
pub(super) fn quantize(kind: GgmlDType, values: &[f32]) -> Vec<u8> {
    let tensor = candle_core::Tensor::from_slice(values, values.len(), &candle_core::Device::Cpu).unwrap();
    candle_core::quantized::QTensor::quantize(&tensor, kind).unwrap().data().unwrap().into_owned()
}

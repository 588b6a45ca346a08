#include "activation.h"

namespace phlox {

void append(dnnl::post_ops& ops, int64_t activation) {
  using dnnl::algorithm;
  switch (activation) {
    case kIdentity: return;
    case kRelu: return ops.append_prelu(0);
    case kGelu: return ops.append_eltwise(algorithm::eltwise_gelu_erf, 0, 0);
    case kGeluTanh: return ops.append_eltwise(algorithm::eltwise_gelu_tanh, 0, 0);
    case kSilu: return ops.append_eltwise(algorithm::eltwise_swish, 1, 0);
  }
  throw Refused("got an activation that it does not know: " + std::to_string(activation));
}

void give(std::unordered_map<int, dnnl::memory>& arguments, int64_t activation, int index) {
  static float slope = 0;
  if (activation != kRelu) return;
  dnnl::memory held({{1}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::x}, engine(), &slope);
  arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(index) | DNNL_ARG_WEIGHTS, held});
}

}  // namespace phlox

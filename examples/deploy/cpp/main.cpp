// An ONNX file run from C++: deploy LIBRARY MODEL INPUT [REPEATS]
//
// LIBRARY is ONNX Runtime's shared library, INPUT a file of the first input's numbers as they lie in memory, of one
// example. Prints each output's name and numbers; with REPEATS also how many milliseconds the start and the median
// call took, and the memory that it took.

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_c.h"

namespace {

const OrtApi* api = nullptr;

void check(OrtStatus* status) {
    if (!status) return;
    const std::string message = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    throw std::runtime_error(message);
}

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

// The most that this process has taken, as Linux says it.
double megabytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind("VmHWM:", 0) == 0) return std::atof(line.c_str() + 6) / 1024;
    return 0;
}

const OrtApi* load(const char* library) {
    void* handle = dlopen(library, RTLD_NOW);
    if (!handle) throw std::runtime_error(dlerror());
    const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
    if (!base) throw std::runtime_error(std::string(library) + " is not ONNX Runtime");
    return base()->GetApi(1);
}

std::vector<char> bytes_of(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

class Model {
  public:
    explicit Model(const char* path) {
        check(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "deploy", &env_));
        check(api->CreateSessionOptions(&options_));
        check(api->SetIntraOpNumThreads(options_, 1));
        check(api->CreateSession(env_, path, options_, &session_));
        check(api->GetAllocatorWithDefaultOptions(&allocator_));
        check(api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_));
        check(api->SessionGetInputName(session_, 0, allocator_, &input_));
        size_t count = 0;
        check(api->SessionGetOutputCount(session_, &count));
        names_.resize(count);
        for (size_t i = 0; i < count; i++) check(api->SessionGetOutputName(session_, i, allocator_, &names_[i]));
        describe();
    }

    // The first input's numbers, which stay the caller's. Sizes that the file leaves open are 1.
    OrtValue* tensor(std::vector<char>& bytes) const {
        OrtValue* made = nullptr;
        check(api->CreateTensorWithDataAsOrtValue(
            memory_, bytes.data(), bytes.size(), shape_.data(), shape_.size(), type_, &made));
        return made;
    }

    std::vector<OrtValue*> run(const OrtValue* input) const {
        std::vector<OrtValue*> outputs(names_.size());
        check(api->Run(session_, nullptr, &input_, &input, 1, names_.data(), names_.size(), outputs.data()));
        return outputs;
    }

    void print(const std::vector<OrtValue*>& outputs) const {
        for (size_t i = 0; i < outputs.size(); i++) {
            std::printf("%s", names_[i]);
            print(outputs[i]);
            std::printf("\n");
        }
    }

    ~Model() {
        api->ReleaseMemoryInfo(memory_);
        api->ReleaseSession(session_);
        api->ReleaseSessionOptions(options_);
        api->ReleaseEnv(env_);
    }

  private:
    OrtEnv* env_ = nullptr;
    OrtSessionOptions* options_ = nullptr;
    OrtSession* session_ = nullptr;
    OrtAllocator* allocator_ = nullptr;
    OrtMemoryInfo* memory_ = nullptr;
    char* input_ = nullptr;
    std::vector<char*> names_;
    std::vector<int64_t> shape_;
    ONNXTensorElementDataType type_{};

    void describe() {
        OrtTypeInfo* info = nullptr;
        const OrtTensorTypeAndShapeInfo* told = nullptr;
        size_t rank = 0;
        check(api->SessionGetInputTypeInfo(session_, 0, &info));
        check(api->CastTypeInfoToTensorInfo(info, &told));
        check(api->GetTensorElementType(told, &type_));
        check(api->GetDimensionsCount(told, &rank));
        shape_.resize(rank);
        check(api->GetDimensions(told, shape_.data(), rank));
        for (auto& size : shape_) size = std::max<int64_t>(size, 1);
        api->ReleaseTypeInfo(info);
    }

    template <class T>
    static void print_all(const void* data, size_t count) {
        for (size_t i = 0; i < count; i++) std::printf(" %.9g", static_cast<double>(static_cast<const T*>(data)[i]));
    }

    static void print(OrtValue* value) {
        OrtTensorTypeAndShapeInfo* told = nullptr;
        ONNXTensorElementDataType type{};
        size_t count = 0;
        void* data = nullptr;
        check(api->GetTensorTypeAndShape(value, &told));
        check(api->GetTensorElementType(told, &type));
        check(api->GetTensorShapeElementCount(told, &count));
        check(api->GetTensorMutableData(value, &data));
        api->ReleaseTensorTypeAndShapeInfo(told);
        switch (type) {
            case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return print_all<float>(data, count);
            case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return print_all<uint8_t>(data, count);
            case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return print_all<int32_t>(data, count);
            case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return print_all<int64_t>(data, count);
            default: throw std::runtime_error("an output whose dtype this program does not print");
        }
    }
};

void release(const std::vector<OrtValue*>& values) {
    for (OrtValue* value : values) api->ReleaseValue(value);
}

void run(const char* library, const char* path, const char* raw, int repeats) {
    const auto begin = Clock::now();
    api = load(library);
    const Model model(path);
    std::vector<char> bytes = bytes_of(raw);
    OrtValue* input = model.tensor(bytes);
    const auto first = model.run(input);
    const double started = milliseconds(begin);
    model.print(first);
    release(first);
    std::vector<double> times;
    for (int i = 0; i < repeats; i++) {
        const auto start = Clock::now();
        release(model.run(input));
        times.push_back(milliseconds(start));
    }
    api->ReleaseValue(input);
    if (times.empty()) return;
    std::sort(times.begin(), times.end());
    std::fprintf(stderr, "{\"start\": %.3f, \"call\": %.6f, \"memory\": %.1f}\n", started, times[times.size() / 2],
                 megabytes());
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 4 && count != 5) {
        std::fprintf(stderr, "usage: deploy LIBRARY MODEL INPUT [REPEATS]\n");
        return 2;
    }
    try {
        run(arguments[1], arguments[2], arguments[3], count == 5 ? std::atoi(arguments[4]) : 0);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}

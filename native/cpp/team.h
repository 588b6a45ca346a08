// Threads that share the work of one call. They take OpenMP's place, for oneDNN too (team.cc says why).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace phlox {

// How many threads may share a call: as many as the process may run at once, or OMP_NUM_THREADS.
int team_size();

// How many of them the calling thread asks for from now on; at least one.
int team_limit();
void limit_team(int count);

using Member = void (*)(int, void*);
void together(int count, Member task, void* data);

// Runs task(0) … task(count - 1), each once, on as many threads as are free; the caller is one of them.
template <typename Task>
void together(int count, Task&& task) {
  together(count, [](int member, void* data) { (*static_cast<std::remove_reference_t<Task>*>(data))(member); }, &task);
}

// Runs body(first, last, member) over pieces of 0 … n, each by who comes first; no two at a time have one member's number.
template <typename Body>
void share(int count, int64_t n, int64_t piece, Body&& body) {
  std::atomic<int64_t> next{0};
  together(static_cast<int>(std::min<int64_t>(count, (n + piece - 1) / piece)), [&](int member) {
    for (int64_t at; (at = next.fetch_add(piece)) < n;) body(at, std::min(at + piece, n), member);
  });
}

}  // namespace phlox

// Reading rows of a table by their numbers, of the type LABEL. Features are counted in vectors.

#ifndef LABEL
#define LABEL long long
#endif

// A number that is out of range reads NaN; those below 0 are, too.
extern "C" __global__ void take_rows(const Vector* __restrict__ table, const LABEL* __restrict__ labels,
                                     Vector* __restrict__ y, long long count, long long features_, long long rows_) {
    const index_t features = features_, rows = rows_;
    const Vector none = stored(filled(NOT_A_NUMBER));
    GRID_LOOP(e, count) {
        const index_t place = e / features, feature = e - place * features;
        const long long label = (long long)labels[place];
        const index_t row = (index_t)(label < 0 || label >= rows ? rows : label);
        y[e] = row == rows ? none : table[row * features + feature];
    }
}

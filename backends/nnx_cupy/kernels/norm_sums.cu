// The sums over rows that the adjoints of a normalisation want: of g, and of g normal.

// Of each part of the rows. Without `normal`, of g alone.
extern "C" __global__ void __launch_bounds__(1024)
sums_of_parts(const T* g, const C* normal, C* plain, C* product, long long rows, long long columns, long long width,
              long long height) {
    Tile t = tile_of(rows, columns, width, height);
    C a, b;
    part_sums(g, normal, t, (index_t)columns, width, &a, &b);
    if (t.inside && t.line == 0) {
        plain[t.part * (index_t)columns + t.column] = a;
        if (normal) product[t.part * (index_t)columns + t.column] = b;
    }
}

// Of all parts: matrices whose rows are parts.
extern "C" __global__ void __launch_bounds__(1024)
sums_of_all(const C* plain_parts, const C* product_parts, C* plain, C* product, long long parts, long long columns,
            long long width) {
    Tile t = tile_of(parts, columns, width, parts);
    C a = 0, b = 0;
    if (t.inside) {
        LINE_LOOP(i, t) {
            a += plain_parts[i * (index_t)columns + t.column];
            if (product) b += product_parts[i * (index_t)columns + t.column];
        }
    }
    a = lines_sum(a, width);
    if (product) b = lines_sum(b, width);
    if (t.inside && t.line == 0) {
        plain[t.column] = a;
        if (product) product[t.column] = b;
    }
}

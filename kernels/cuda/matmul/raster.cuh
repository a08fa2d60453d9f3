// Which tile of C a block computes. Blocks start in the order of their number, and those that run at the same time
// share the second-level cache: so let them form a patch, GROUP tiles high, rather than a long row of tiles. A
// patch of g x g tiles reads 2 g panels where a row of g^2 tiles reads g^2 + 1.

#define GROUP 8

struct Tile {
    int row, col;
};

__device__ __forceinline__ Tile tile_of_block(int tiles_down, int tiles_across)
{
    int in_group = GROUP * tiles_across, group = blockIdx.x / in_group, rest = blockIdx.x % in_group;
    int left = tiles_down - group * GROUP, height = left < GROUP ? left : GROUP;
    return {group * GROUP + rest % height, rest / height};
}

// An optimiser step for many parameters at once. Their pointers are passed by value, as an argument of the launch.

const int TENSORS = 100;  // arguments are limited to 4 KB

struct Tensors {
    float* parameter[TENSORS];
    const float* grad[TENSORS];
    float* first[TENSORS];   // SGD: the velocity (null without momentum); Adam: the mean of the gradient
    float* second[TENSORS];  // Adam: the mean of the squared gradient
    int size[TENSORS];
};

// Each row of the grid handles one tensor. options: lr, momentum, weight decay.
extern "C" __global__ void sgd(const Tensors tensors, const float* options, int nesterov)
{
    int t = blockIdx.y;
    float lr = options[0], momentum = options[1], decay = options[2];
    float *parameter = tensors.parameter[t], *velocity = tensors.first[t];
    const float* grad = tensors.grad[t];
    FOR_EACH(i, tensors.size[t]) {
        float g = grad[i] + decay * parameter[i];
        float v = velocity ? momentum * velocity[i] + g : g;
        if (velocity) velocity[i] = v;
        parameter[i] -= lr * (nesterov ? g + momentum * v : v);
    }
}

// options: lr / (1 - beta1^step), beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, 1 - lr * decay,
// 1 / sqrt(1 - beta2^step).
// Of decay and 1 - lr * decay, Adam uses the former and AdamW the latter.
extern "C" __global__ void adam(const Tensors tensors, const float* options)
{
    int t = blockIdx.y;
    float *parameter = tensors.parameter[t], *mean = tensors.first[t], *square = tensors.second[t];
    const float* grad = tensors.grad[t];
    FOR_EACH(i, tensors.size[t]) {
        float p = parameter[i] * options[7];
        float g = grad[i] + options[6] * p;
        float m = options[1] * mean[i] + options[2] * g;
        float s = options[3] * square[i] + options[4] * g * g;
        mean[i] = m;
        square[i] = s;
        parameter[i] = p - options[0] * (m / (sqrtf(s) * options[8] + options[5]));
    }
}
